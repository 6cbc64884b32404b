"""A turn's vector taken from the preference classifier, as the paper feeds its memory."""

from __future__ import annotations

import torch
from torch import nn

from .modeling_classifier import PreferenceClassifier
from .outputs import EncoderPass


class ClassifierVectors(nn.Module):
    """
    Makes the vectors of turns out of a pass of the encoder: the classifier's pooled representation, what its last MLP
    reads. It is frozen.

    Args:
        classifier ([`PreferenceClassifier`]): Trained on the encoder whose passes it gets.
        vector_size (`int`): `classifier_vector_size` of the adapter.
        encoder_name (`str`): `encoder_name_or_path` of the adapter.

    Raises:
        ValueError: if the classifier reads another encoder, or its representation has another width.
    """

    def __init__(self, classifier: PreferenceClassifier, vector_size: int, encoder_name: str) -> None:
        super().__init__()
        name, width = classifier.config.encoder_name_or_path, classifier.pooler.output_size
        if (name, width) != (encoder_name, vector_size):
            raise ValueError(
                f"The classifier must read the adapter's encoder '{encoder_name}' and have a pooled representation of "
                f"width {vector_size} (`classifier_vector_size`), got one on '{name}' of width {width}. "
                "Name the classifier that the adapter was trained with in `classifier_name_or_path`."
            )
        self.classifier = classifier.eval().requires_grad_(False)

    def forward(self, passed: EncoderPass) -> torch.Tensor:
        """The vectors `(batch, vector_size)`, float32."""
        vectors: torch.Tensor = self.classifier.represent(
            passed.hidden_states, passed.attention_mask, passed.token_type_ids
        )
        return vectors.float()
