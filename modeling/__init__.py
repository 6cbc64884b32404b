"""Models, memory and the PEFT method. Importing this registers the method with PEFT."""

from .cell import MemoryCell
from .classifier_detector import ClassifierDetector
from .configuration_classifier import PreferenceClassifierConfig
from .configuration_pref_memory import PEFT_TYPE, PrefMemoryConfig
from .defaults import load_default_detector, load_default_model
from .heuristic_detector import HeuristicDetector
from .load_detector import load_detector
from .memory_state import MemoryState
from .modeling_classifier import PreferenceClassifier
from .modeling_pref_lstm import PrefLSTMForCausalLM
from .outputs import EncodedTurn, EncoderPass, MemoryReadout
from .peft_method import PrefMemoryLayer, PrefMemoryModel, register
from .placeholder import insert_placeholders, pick_memory_token_id
from .pref_memory import PrefMemory
from .prompt import build_prompt
from .registration import register_classifier
from .resolve import load_language_model, resolve_encoder, resolve_model
from .turn import Detection, Detector, Turn
from .turn_encoder import TurnEncoder

__all__ = [
    "PEFT_TYPE",
    "ClassifierDetector",
    "Detection",
    "Detector",
    "EncodedTurn",
    "EncoderPass",
    "HeuristicDetector",
    "MemoryCell",
    "MemoryReadout",
    "MemoryState",
    "PrefLSTMForCausalLM",
    "PrefMemory",
    "PrefMemoryConfig",
    "PrefMemoryLayer",
    "PrefMemoryModel",
    "PreferenceClassifier",
    "PreferenceClassifierConfig",
    "Turn",
    "TurnEncoder",
    "build_prompt",
    "insert_placeholders",
    "load_default_detector",
    "load_default_model",
    "load_detector",
    "load_language_model",
    "pick_memory_token_id",
    "register",
    "register_classifier",
    "resolve_encoder",
    "resolve_model",
]

register_classifier()
