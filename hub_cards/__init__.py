"""Cards of adapters, classifiers and Spaces: facts go in, a README comes out. Knows files, no class of the package."""

from .callback import CardCallback
from .compute_facts import check_files
from .facts import CardFacts, ComputedFacts, DataSource, GivenFacts, MeasuredFacts, Result, TrainingFacts, Usage
from .hardware import describe_hardware
from .render import render_card
from .results import add_classifier_results, add_memory_results
from .space import SpaceFacts, write_space
from .update import update_card
from .usage import run_usage
from .write_card import write_card

__all__ = [
    "CardCallback",
    "CardFacts",
    "ComputedFacts",
    "DataSource",
    "GivenFacts",
    "MeasuredFacts",
    "Result",
    "SpaceFacts",
    "TrainingFacts",
    "Usage",
    "add_classifier_results",
    "add_memory_results",
    "check_files",
    "describe_hardware",
    "render_card",
    "run_usage",
    "update_card",
    "write_card",
    "write_space",
]
