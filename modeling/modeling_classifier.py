"""The trained detector's model: a frozen encoder, the head's own last layers, a pooler and a two-layer MLP."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import SequenceClassifierOutput

from .classifier_head import ScalarMix, TurnPooler
from .configuration_classifier import PreferenceClassifierConfig
from .resolve import resolve_encoder


class PreferenceClassifier(PreTrainedModel):
    """
    Does a turn reveal a preference of its user? Two logits, `no_preference` and `preference`.

    The encoder is frozen and is not part of what is saved: [`~PreferenceClassifier.from_pretrained`] loads it by
    `config.encoder_name_or_path`, or takes a live one. All that is trained reads its hidden states, so one forward
    pass of an encoder can serve this classifier and others: see [`~PreferenceClassifier.classify`].

    With `pooling="cls"`, no tuned layers and `prajjwal1/bert-medium` it is the classifier of "Dynamic LSTM-based
    Memory Encoder For Long-term LLM Interactions" (arXiv 2507.03042). One score is computed per turn and the logit of
    `no_preference` is fixed at 0: the cross-entropy of the two is the paper's binary cross-entropy with logits.

    Args:
        config ([`PreferenceClassifierConfig`]): The configuration. A classifier made from it alone has no encoder yet.
    """

    config_class = PreferenceClassifierConfig
    base_model_prefix = ""
    main_input_name = "input_ids"

    def __init__(self, config: PreferenceClassifierConfig) -> None:
        super().__init__(config)
        encoder_config: Any = config.encoder_config
        width = encoder_config.hidden_size
        self.tuned_layers = _last_layers(AutoModel.from_config(encoder_config), config.num_tuned_layers)
        self.mix = ScalarMix(len(config.hidden_state_indices) + bool(config.num_tuned_layers))
        self.norm = nn.LayerNorm(width)
        self.pooler = TurnPooler(config, width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Sequential(
            nn.Linear(self.pooler.output_size, config.head_size),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.head_size, 1),
        )
        self.encoder: PreTrainedModel | None = None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ScalarMix):
            init.zeros_(module.weight)

    @classmethod
    def from_encoder(cls, name: str, encoder: PreTrainedModel | None = None, **fields: Any) -> PreferenceClassifier:
        """
        A new classifier on a trained encoder; its tuned layers begin as copies of the encoder's.

        Args:
            name (`str`): Hub id or folder of the encoder, stored in the configuration.
            encoder ([`~transformers.PreTrainedModel`], *optional*): The live encoder. Left out: loaded by `name`.
            fields: Fields of [`PreferenceClassifierConfig`].
        """
        encoder = encoder if encoder is not None else AutoModel.from_pretrained(resolve_encoder(name))
        encoder_config = encoder.config.to_dict()
        encoder_config.pop("_name_or_path", None)  # may be a path of this machine
        config = PreferenceClassifierConfig(encoder_config=encoder_config, encoder_name_or_path=name, **fields)
        model = cls(config)
        copies = _last_layers(encoder, config.num_tuned_layers)
        model.tuned_layers.load_state_dict(copies.state_dict())
        return model.attach(encoder)

    @classmethod
    def from_pretrained(cls, path: str, *args: Any, encoder: PreTrainedModel | None = None, **kwargs: Any) -> Any:
        """
        Loads the head, then the encoder that its configuration names; with `encoder`, attaches that one instead.
        Weights come in float32 unless `dtype` says otherwise: files may hold half precision to be small.

        Returns what [`~transformers.PreTrainedModel.from_pretrained`] returns, in evaluation mode.
        """
        kwargs.setdefault("dtype", torch.float32)
        kwargs["use_safetensors"] = True  # a repository named by somebody else's adapter must not bring pickled weights
        loaded = super().from_pretrained(path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if encoder is None:
            folder = resolve_encoder(model.config.encoder_name_or_path)
            encoder = AutoModel.from_pretrained(folder, dtype=model.dtype).to(model.device)
        model.attach(encoder).eval()
        return loaded

    def attach(self, encoder: PreTrainedModel) -> PreferenceClassifier:
        """
        Freezes `encoder` and reads from it from now on.

        Raises:
            ValueError: if its hidden size or number of layers is not the one this classifier was made for.
        """
        expected, found = self.config.encoder_config, encoder.config
        for name in ("hidden_size", "num_hidden_layers"):
            if getattr(expected, name) != getattr(found, name):
                raise ValueError(
                    f"The encoder must have `{name}` {getattr(expected, name)}, got {getattr(found, name)}. "
                    f"Pass the encoder this classifier was trained on: `{self.config.encoder_name_or_path}`."
                )
        self.encoder = encoder.requires_grad_(False).eval()
        self._keys_to_ignore_on_save = {f"encoder.{name}" for name in encoder.state_dict()}
        return self

    def train(self, mode: bool = True) -> PreferenceClassifier:
        """Training mode for the head; the encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder is not None:
            self.encoder.eval()
        return self

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        hidden_states: tuple[torch.Tensor | None, ...] | None = None,
    ) -> SequenceClassifierOutput:
        """
        Args:
            input_ids (int64 `(batch, length)`, *optional*):
                Token ids, as [`tokenize_turns`] or a text pair (agent, user) gives. Not read with `hidden_states`.
            attention_mask (int64 `(batch, length)`, *optional*): 0 on padding. Needed with `hidden_states`.
            token_type_ids (int64 `(batch, length)`, *optional*):
                1 on the user's segment. In a row without any 1 the whole text counts as the user's.
            labels (int64 `(batch,)`, *optional*): 1 where the turn reveals a preference.
            hidden_states (tuple of float tensors `(batch, length, hidden)`, *optional*):
                What an encoder gave already, see [`~PreferenceClassifier.classify`].

        Returns:
            [`~transformers.modeling_outputs.SequenceClassifierOutput`]: `logits` float `(batch, 2)`, and `loss`, the
            mean cross-entropy, where there are labels.

        Raises:
            ValueError: without `input_ids` and without `hidden_states` and their `attention_mask`.
            RuntimeError: if `input_ids` are to be read and no encoder is attached.
        """
        if hidden_states is None and input_ids is not None:
            if attention_mask is None:
                attention_mask = torch.ones_like(input_ids)
            if token_type_ids is None:
                token_type_ids = torch.zeros_like(input_ids)
            hidden_states = self.encode(input_ids, attention_mask, token_type_ids)
        if hidden_states is None or attention_mask is None:
            raise ValueError(
                "`PreferenceClassifier` expects `input_ids`, or `hidden_states` together with `attention_mask`, and "
                "got neither. Pass one of them."
            )
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(attention_mask)
        logits = self.classify(hidden_states, attention_mask, token_type_ids)
        loss = nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return SequenceClassifierOutput(loss=loss, logits=logits)

    @torch.no_grad()
    def encode(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """
        The frozen encoder's hidden states: `num_hidden_layers + 1` float tensors `(batch, length, hidden)`.

        Raises:
            RuntimeError: if no encoder is attached.
        """
        if self.encoder is None:
            raise RuntimeError(
                "`PreferenceClassifier` has no encoder to read `input_ids` with. Load it with `from_pretrained`, make "
                "it with `from_encoder`, or call `attach(encoder)` first."
            )
        encoded = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            output_hidden_states=True,
        )
        hidden_states: tuple[torch.Tensor, ...] = encoded.hidden_states
        return hidden_states

    def states_read(self) -> list[int]:
        """The indices (0 = embeddings) of the hidden states that [`~PreferenceClassifier.classify`] reads."""
        last = self.config.encoder_config.num_hidden_layers
        read = {index % (last + 1) for index in self.config.hidden_state_indices}
        return sorted(read | {last - len(self.tuned_layers)} if len(self.tuned_layers) else read)

    def classify(
        self,
        hidden_states: tuple[torch.Tensor | None, ...],
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
    ) -> torch.Tensor:
        """
        The logits from hidden states that somebody computed already, float `(batch, 2)`.

        Args:
            hidden_states, attention_mask, token_type_ids: As for [`~PreferenceClassifier.represent`].
        """
        score = self.head(self.represent(hidden_states, attention_mask, token_type_ids)).squeeze(-1)  # (batch,)
        return torch.stack([torch.zeros_like(score), score], dim=-1)

    def represent(
        self,
        hidden_states: tuple[torch.Tensor | None, ...],
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
    ) -> torch.Tensor:
        """
        The pooled representation of each turn, which the MLP reads.

        Args:
            hidden_states (tuple of `num_hidden_layers + 1` float tensors `(batch, length, hidden)`):
                The embeddings' output and each layer's, as an encoder gives with `output_hidden_states=True`. Those
                that [`~PreferenceClassifier.states_read`] does not name may be `None`.
            attention_mask (int64 `(batch, length)`): 0 on padding.
            token_type_ids (int64 `(batch, length)`): 1 on the user's segment.

        Returns:
            float `(batch, pooler.output_size)`.
        """
        states = [hidden_states[index] for index in self.config.hidden_state_indices]
        if len(self.tuned_layers):
            state = hidden_states[-1 - len(self.tuned_layers)]
            mask = create_bidirectional_mask(
                config=self.config.encoder_config, inputs_embeds=state, attention_mask=attention_mask
            )
            for layer in self.tuned_layers:
                state = layer(state, mask)
            states.append(state)
        mixed = self.dropout(self.norm(self.mix(states)))
        read = attention_mask.bool()
        user = read & token_type_ids.bool()
        user = torch.where(user.any(1, keepdim=True), user, read)
        pooled: torch.Tensor = self.pooler(mixed, user)
        return pooled


def _last_layers(encoder: PreTrainedModel, number: int) -> nn.ModuleList:
    """Copies of the last `number` layers of a BERT-like encoder."""
    if number == 0:
        return nn.ModuleList()
    layers = getattr(getattr(encoder, "encoder", None), "layer", None)
    if layers is None or len(layers) < number:
        raise ValueError(
            f"`num_tuned_layers` = {number} needs a BERT-like encoder with as many layers in `encoder.layer`, got "
            f"{type(encoder).__name__} with {0 if layers is None else len(layers)}. Choose fewer, or another encoder."
        )
    last: nn.ModuleList = copy.deepcopy(layers[len(layers) - number :])
    return last
