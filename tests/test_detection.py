"""What a detector may return, and what of it reaches the store."""

import re

import numpy as np
import pytest
import torch
from pref_lstm.modeling.turn import Detection, Turn
from tiny_store import make_store_model

from pref_lstm.user_store import UserStore


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.tensor])
def test_a_detection_holds_plain_values(kind):
    detection = Detection(kind(0.5), kind(1) > 0, "")
    assert type(detection.probability) is float and detection == Detection(0.5, True, "")
    assert type(detection.is_preference) is bool


@pytest.mark.parametrize("probability", [float("nan"), -0.1, 1.1])
def test_a_probability_is_from_0_to_1(probability):
    message = f"`Detection.probability` must be from 0 to 1, got {probability}. Mend the detector."
    with pytest.raises(ValueError, match=re.escape(message)):
        Detection(probability, True, "")


@pytest.mark.parametrize("kind", [np.float32, torch.tensor])
def test_the_store_keeps_what_a_detector_of_any_kind_says(tmp_path, kind):
    class Other:
        def detect(self, turns):
            return [Detection(kind(0.75), True, "asked another model") for _ in turns]

    with UserStore(tmp_path / "users.db", make_store_model(), Other()) as store:
        store.observe("ada", Turn("I love tea"))
        [record] = store.history("ada")
        assert record.detection == Detection(0.75, True, "asked another model")
        store.forget("ada", record.id)
        assert not store.history("ada")
