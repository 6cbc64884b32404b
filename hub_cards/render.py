"""From facts to a model card."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .facts import CardFacts, Result, TrainingFacts, known

_PREFEVAL: dict[str, Any] = {"dataset_type": "siyanzhao/prefeval_explicit", "dataset_name": "PrefEval"}
_TURNS: dict[str, Any] = {"dataset_type": "labelled-turns", "dataset_name": "Labelled turns"}
OWN_DATASETS = (_PREFEVAL["dataset_type"], _TURNS["dataset_type"])


def render_card(kind: str, facts: CardFacts) -> ModelCard:
    """
    The card of an adapter or a classifier. It says what is known and has no place for what is not.

    Args:
        kind (`str`): `"adapter"` or `"classifier"`.
        facts ([`CardFacts`]): What is known.

    Returns:
        [`~huggingface_hub.ModelCard`]: metadata with the model index, and the text.
    """
    template = (files("pref_lstm.hub_cards") / "templates" / f"{kind}.md").read_text(encoding="utf-8")
    usage = facts.measured.usage
    card: ModelCard = ModelCard.from_template(
        _metadata(kind, facts),
        template_str=template,
        given=known(facts.given),
        measured=known(facts.measured),
        training=known(facts.measured.training) if facts.measured.training is not None else {},
        run=_run(facts.measured.training, "conversations" if kind == "adapter" else "turns"),
        duration=_duration(facts.measured.training),
        computed=known(facts.computed),
        rows=[_row(result) for result in facts.measured.results],
        fence=_fence(usage.output) if usage is not None else "",
    )
    card.text = card.text.rstrip() + "\n"
    return card


def _metadata(kind: str, facts: CardFacts) -> ModelCardData:
    given, computed = facts.given, facts.computed
    is_adapter = kind == "adapter"
    data = ModelCardData(
        base_model=computed.base_model,
        base_model_relation=("adapter" if is_adapter else "finetune") if computed.base_model else None,
        datasets=[source.hub_id for source in given.data if source.hub_id] or None,
        language=given.languages or None,
        library_name="peft" if is_adapter else "transformers",
        license=given.license,
        pipeline_tag="text-generation" if is_adapter else "text-classification",
        tags=["pref-lstm", "memory", "personalization"] if is_adapter else ["pref-lstm", "preference-detection"],
    )
    results = [_eval_result(kind, result, facts.measured.seed) for result in facts.measured.results if result.is_model]
    if results:
        data.model_name = (given.repo_id or f"pref-lstm-{kind}").rpartition("/")[2]
        data.eval_results = results
    return data


def _eval_result(kind: str, result: Result, seed: int | None) -> EvalResult:
    is_adapter = kind == "adapter"
    circumstances: dict[str, Any] = {"n": result.n, "seed": seed, "low": result.low, "high": result.high}
    circumstances = {name: _rounded(value) for name, value in circumstances.items() if value is not None}
    return EvalResult(
        task_type="text-generation" if is_adapter else "text-classification",
        metric_type=result.measure.lower(),
        metric_name=f"{result.measure}, {result.setting}" if result.setting else result.measure,
        metric_value=_rounded(result.value),
        metric_args=circumstances or None,
        **(_PREFEVAL if is_adapter else _TURNS),
    )


def _run(training: TrainingFacts | None, examples: str) -> str:
    """What is known of a training run, in one line."""
    if training is None:
        return ""
    parts = (
        ("{:,} steps", training.steps),
        (f"{{}} {examples} a step", training.batch_size),
        ("learning rate {}", training.learning_rate),
        ("seed {}", training.seed),
        ("last logged loss {:.3f}", training.final_loss),
    )
    return ", ".join(text.format(value) for text, value in parts if value is not None)


def _duration(training: TrainingFacts | None) -> str:
    if training is None or training.seconds is None:
        return ""
    hours = training.seconds / 3600
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _row(result: Result) -> dict[str, str]:
    interval = f"{result.low:.2f} to {result.high:.2f}" if result.low is not None and result.high is not None else ""
    digits = 2 if abs(result.value) >= 0.1 or result.value == 0 else 3
    return {
        "measure": ", ".join(part for part in (result.measure, result.setting) if part),
        "method": result.method,
        "value": f"{result.value:.{digits}f}",
        "interval": interval,
        "n": str(result.n) if result.n is not None else "",
    }


def _rounded(value: float) -> float:
    return round(value, 4)


def _fence(text: str) -> str:
    """More backticks than the text has in a row, so that it can't end its own block."""
    length = 3
    while "`" * length in text:
        length += 1
    return "`" * length
