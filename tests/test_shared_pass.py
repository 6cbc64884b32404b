"""Detector and encoder in one pass of the backbone give what they give apart."""

import copy

import torch
from pref_lstm.modeling.classifier_detector import ClassifierDetector
from pref_lstm.modeling.modeling_classifier import PreferenceClassifier
from pref_lstm.modeling.shared_pass import detect_and_encode, shares_backbone
from pref_lstm.modeling.turn import Turn
from pref_lstm.modeling.turn_tokenization import MAX_USER_LENGTH
from tiny import KeywordDetector, make_turn_encoder

TURNS = [Turn("I love green tea."), Turn("please, never cats", "What pets do you like?")]


def make_pair(max_length=MAX_USER_LENGTH, name="tiny"):
    encoder = make_turn_encoder()
    encoder.name = "tiny"
    model = PreferenceClassifier.from_encoder(name, encoder=encoder.backbone, max_length=max_length)
    return encoder, ClassifierDetector(model, encoder.tokenizer)


def test_one_pass_is_two():
    encoder, detector = make_pair()
    assert shares_backbone(encoder, detector)
    passes = []
    encoder.backbone.embeddings.register_forward_hook(lambda *_: passes.append(1))
    detections, encoded = detect_and_encode(encoder, detector, TURNS)
    assert len(passes) == 1
    for ours, theirs in zip(detections, detector.detect(TURNS), strict=True):
        assert abs(ours.probability - theirs.probability) < 1e-6
        assert ours.is_preference == theirs.is_preference
    for ours, theirs in zip(encoded.to_tuple(), encoder.encode(TURNS).to_tuple(), strict=True):
        assert torch.equal(ours, theirs)


def test_another_backbone_or_length_is_read_apart():
    encoder, detector = make_pair(name="another")
    assert not shares_backbone(encoder, detector)
    encoder, detector = make_pair(max_length=64)
    assert not shares_backbone(encoder, detector)
    assert not shares_backbone(encoder, KeywordDetector())


def test_a_detector_without_a_backbone_gets_the_turns():
    encoder = make_turn_encoder()
    detections, encoded = detect_and_encode(encoder, KeywordDetector(), TURNS)
    assert detections == KeywordDetector().detect(TURNS)
    assert torch.equal(encoded.pooled, encoder.encode(TURNS).pooled)


def test_a_detector_of_another_precision_reads_for_itself():
    encoder, detector = make_pair()
    encoder.encoder = copy.deepcopy(encoder.encoder)  # the detector's own backbone is another module then
    detector.model.to(torch.bfloat16)
    assert not shares_backbone(encoder, detector)
    detections, encoded = detect_and_encode(encoder, detector, TURNS)
    assert detections == detector.detect(TURNS) and encoded.pooled.dtype == torch.float32
