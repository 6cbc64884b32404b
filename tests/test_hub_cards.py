"""Whole cards: what is known stands there, what is unknown leaves no trace, what the owner wrote stays."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from fake_hub import card_errors
from huggingface_hub import EvalResult, ModelCard
from pref_lstm.hub_cards import (
    CardFacts,
    ComputedFacts,
    DataSource,
    GivenFacts,
    MeasuredFacts,
    Result,
    TrainingFacts,
    Usage,
    add_classifier_results,
    add_memory_results,
    render_card,
    update_card,
    write_card,
)
from refused import refused
from tiny import make_model

REPORT = json.loads((Path(__file__).parent.parent / "docs" / "memory_results.json").read_text())
LM = REPORT["lm"]
KINDS = ("adapter", "classifier")


def all_facts():
    """Every fact known."""
    given = GivenFacts(
        "apache-2.0", ["en"], [DataSource("chats", "turns"), DataSource("OASST1", "noise", "mit", "a/b")]
    )
    given.repo_id, given.partner_id = "me/memory", "me/partner"
    training = TrainingFacts(290, 1208.2, "2 threads of a CPU (x86_64)", 0, 8, 6e-4, 1.25)
    results = [
        Result("recovery", 0.8797, "memory", "1 stored", 0.798, 0.96, 94, True),
        Result("harm", 0.0066, "memory"),
    ]
    measured = MeasuredFacts(training, results, 3, "one GPU", Usage("print(1)\n", "1\n"), "results.png")
    computed = ComputedFacts("me/lm", "abc123", "me/encoder", 740871, 2966708, "0" * 64)
    computed.details = {"soft tokens that the LM reads": 16, "pooling": "attention"}
    computed.versions = {"PEFT": "0.21.2"}
    return CardFacts(given, measured, computed)


def single_facts():
    """`(group, name)` of every fact that may be unknown; an adapter's soft tokens are always known."""
    facts = all_facts()
    groups = {"given": facts.given, "measured": facts.measured, "computed": facts.computed}
    pairs = [(group, name) for group, values in groups.items() for name in vars(values) if name != "details"]
    return pairs + [("training", name) for name in vars(facts.measured.training)]


def forget(facts, group, name):
    target = facts.measured.training if group == "training" else getattr(facts, group)
    setattr(target, name, type(getattr(target, name))() if isinstance(getattr(target, name), (list, dict)) else None)


def check_whole(card, files=("results.png",)):
    """What must hold for every card."""
    content = str(card)
    assert card_errors(content) == []
    assert str(ModelCard(content)) == content
    assert not re.search(r"\b(None|Undefined|nan|null)\b", content)
    assert "\n\n\n" not in content and "{{" not in content and "{%" not in content
    prose = re.sub(r"^\|.*$", "", re.sub(r"```.*?```", "", card.text, flags=re.DOTALL), flags=re.MULTILINE)
    assert not re.search(r"^[,.]|, ,|\S  +\S| $", prose, re.MULTILINE)
    sections = re.split(r"^(#+ .*)$", card.text, flags=re.MULTILINE)
    for heading, body in zip(sections[1::2], sections[2::2], strict=True):
        assert body.strip(), f"'{heading}' is empty"
    for header, rows in re.findall(r"^(\|.*\|)\n\|[-|]+\|\n((?:\|.*\n)*)", card.text, re.MULTILINE):
        assert rows, f"the table '{header}' has no rows"
        assert {row.count("|") for row in rows.splitlines()} == {header.count("|")}
    for link in re.findall(r"\]\(([^)]*)\)", card.text):
        assert link in files or re.fullmatch(r"https://huggingface\.co/(datasets/)?[\w.-]+/[\w.-]+", link), link


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_that_knows_everything(kind):
    card = render_card(kind, all_facts())
    check_whole(card)
    headings = re.findall(r"^#+ (.*)$", card.text, re.MULTILINE)
    assert headings == [
        "memory", "Use", "Intended use and limits", "Results", "Training", "Environmental impact", "Framework versions",
    ]  # fmt: skip
    for text in (
        "0.88",
        "apache-2.0",
        "print(1)",
        "290 steps",
        "20.1 minutes on 2 threads",
        "me/partner",
    ):
        assert text in card.text, text
    assert card.data.license == "apache-2.0" and card.data.language == ["en"] and card.data.datasets == ["a/b"]
    assert card.data.base_model == "me/lm"


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_that_knows_nothing(kind):
    card = render_card(kind, CardFacts(computed=ComputedFacts(details={"soft tokens that the LM reads": 16})))
    check_whole(card)
    assert re.findall(r"^## (.*)$", card.text, re.MULTILINE) == ["Intended use and limits"]
    assert set(card.data.to_dict()) == {"library_name", "pipeline_tag", "tags"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("group", "name"), single_facts())
def test_one_unknown_fact_leaves_no_trace(kind, group, name):
    facts = all_facts()
    forget(facts, group, name)
    check_whole(render_card(kind, facts))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("group", "name"), single_facts())
def test_one_known_fact_stands_alone(kind, group, name):
    facts, whole = all_facts(), all_facts()
    for other in single_facts():
        if other not in ((group, name), ("measured", "training")):
            forget(facts, *other)
    assert facts != whole
    check_whole(render_card(kind, facts))


def test_output_can_not_end_its_own_block():
    facts = all_facts()
    facts.measured.usage = Usage("print(1)\n", "```\n````\n# not a heading\n")
    text = render_card("adapter", facts).text
    assert "`````text\n```\n````\n# not a heading\n`````\n" in text


# --- results


def test_the_memorys_results_are_those_of_the_report():
    facts = all_facts()
    add_memory_results(facts.measured, REPORT, LM)
    card = render_card("adapter", facts)
    check_whole(card)
    own = {r["num_preferences"]: r for r in REPORT["results"] if r["method"] == "memory" and r["num_turns"] == 0}
    assert own
    results = ModelCard(str(card)).data.eval_results
    assert [(r.metric_name, r.metric_value) for r in results] == [
        (f"recovery, {count} stored", round(row["recovery"], 4)) for count, row in own.items()
    ]
    for result, row in zip(results, own.values(), strict=True):
        assert result.dataset_name == "PrefEval"
        low, high = round(row["recovery_low"], 4), round(row["recovery_high"], 4)
        assert result.metric_args == {"n": REPORT["n"], "seed": REPORT["seed"], "low": low, "high": high}
        shown = f"| {row['recovery']:.2f} | {row['recovery_low']:.2f} to {row['recovery_high']:.2f} | {REPORT['n']} |"
        assert shown in card.text
    assert f"Seed {REPORT['seed']}. Measured on {REPORT['hardware']}." in card.text


def test_single_figures_of_the_report_come_with_their_intervals():
    facts = all_facts()
    add_memory_results(facts.measured, {**REPORT, "polarity": 0.81, "polarity_low": 0.74, "polarity_high": 0.88}, LM)
    assert "| 0.81 | 0.74 to 0.88 |" in render_card("adapter", facts).text


def test_the_classifiers_results_are_those_of_the_report():
    report = {"n": 80, "accuracy": 0.9125, "f1": 0.9, "auprc": None, "threshold": 0.82, "ms_per_turn": 9.0}
    report["hardware"] = "2 threads of a CPU (x86_64)"
    facts = all_facts()
    add_classifier_results(facts.measured, report, 0.82)
    card = render_card("classifier", facts)
    check_whole(card)
    results = ModelCard(str(card)).data.eval_results
    assert [(r.metric_type, r.metric_value) for r in results] == [("accuracy", 0.9125), ("f1", 0.9)]
    assert "| F1 | classifier | 0.90 | 80 |" in card.text and "AUPRC" not in card.text
    assert "Measured on 2 threads of a CPU (x86_64)." in card.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lm": "me/other"}, f"The results must be of the adapter's LM '{LM}', got those of 'me/other'. "
         "Evaluate this adapter and pass what that run wrote."),
        ({"trained": False}, "The results must be of the adapter, got those of an untrained memory. "
         "Evaluate the adapter."),
    ],
)  # fmt: skip
def test_results_of_something_else_are_refused(change, message):
    with refused(ValueError, message):
        add_memory_results(MeasuredFacts(), {**REPORT, **change}, LM)


def test_results_of_another_threshold_are_refused():
    message = (
        "The results must be of the classifier's threshold 0.82, got those of 0.5. "
        "Evaluate this classifier and pass what that run wrote."
    )
    with refused(ValueError, message):
        add_classifier_results(MeasuredFacts(), {"n": 1, "accuracy": 1.0, "threshold": 0.5}, 0.82)


@pytest.mark.parametrize("report", [[], {"n": 3}])
def test_other_files_are_no_results(report):
    missing = ["lm", "results"] + (["n"] if report == [] else [])
    message = (
        "The results must be the JSON that `pref-lstm evaluate-memory --json` wrote, with ['lm', 'results', 'n'], "
        f"but {missing} are missing. Pass that file."
    )
    with refused(ValueError, message):
        add_memory_results(MeasuredFacts(), report, LM)


# --- an existing card


def test_what_the_owner_wrote_stays():
    theirs = EvalResult("text-generation", "me/chats", "My chats", "stars", 4.5, metric_name="stars")
    existing = update_card(render_card("adapter", all_facts()), None)
    existing.data.tags = [*existing.data.tags, "mine", "base_model:adapter:/a/folder/of/mine"]
    existing.data.thumbnail = "https://example.org/cat.png"
    existing.data.eval_results.append(theirs)
    existing.text = "Mine, before.\n\n" + existing.text + "\nMine, after.\n"
    facts = all_facts()
    facts.measured.results = [Result("recovery", 0.5, "memory", "1 stored", is_model=True)]
    facts.given.license = None
    card = update_card(render_card("adapter", facts), ModelCard(str(existing)))
    assert card.text.strip().startswith("Mine, before.\n\n<!-- Begin")
    assert card.text.endswith("keeps up to date. -->\n\nMine, after.\n")
    assert "0.50" in card.text and "0.88" not in card.text
    assert card.data.license == "apache-2.0" and card.data.thumbnail == "https://example.org/cat.png"
    assert card.data.tags == ["pref-lstm", "memory", "personalization", "mine"]
    assert [(r.dataset_name, r.metric_value) for r in card.data.eval_results] == [("PrefEval", 0.5), ("My chats", 4.5)]
    assert str(update_card(render_card("adapter", facts), card)) == str(card)


def test_a_card_of_the_owners_own_is_kept_whole():
    card = update_card(render_card("adapter", all_facts()), ModelCard("---\nlicense: mit\n---\n# My card\n\nWords.\n"))
    assert card.text.strip().startswith("# My card\n\nWords.\n\n<!-- Begin")
    assert card.data.license == "apache-2.0"


def test_results_that_are_no_longer_known_leave_the_index():
    facts = all_facts()
    existing = update_card(render_card("adapter", facts), None)
    facts.measured.results = []
    card = update_card(render_card("adapter", facts), ModelCard(str(existing)))
    assert "model-index" not in str(card) and "model_name" not in str(card)


# --- on a saved model


@pytest.fixture
def adapter(hub_folders, tmp_path):
    return shutil.copytree(hub_folders / "adapter", tmp_path / "adapter")


def test_pefts_empty_form_gives_way(adapter):
    assert "[More Information Needed]" in (adapter / "README.md").read_text()
    write_card("adapter", adapter, CardFacts())
    text = (adapter / "README.md").read_text()
    assert "[More Information Needed]" not in text
    check_whole(ModelCard(text.replace("\n\n---\n", "\n---\n")))
    assert "base_model: tester/tiny-llama" in text


def test_saving_the_model_again_does_not_spoil_its_card(adapter):
    facts = all_facts()
    facts.computed = ComputedFacts()
    write_card("adapter", adapter, facts)
    before = (adapter / "README.md").read_text()
    model = make_model()
    model.memory_config.base_model_name_or_path = "tester/tiny-llama"
    model.memory_config.encoder_name_or_path = "tester/tiny-encoder"
    model.save_pretrained(adapter)  # peft rewrites the card's metadata
    assert (adapter / "README.md").read_text() != before
    write_card("adapter", adapter, copy.deepcopy(facts))
    after = ModelCard.load(adapter / "README.md")
    assert after.text == ModelCard(before).text
    assert after.data.library_name == "peft" and after.data.base_model == "tester/tiny-llama"


def test_computed_facts_are_those_of_the_files(adapter, hub_folders):
    facts = CardFacts()
    write_card("adapter", adapter, facts)
    computed = facts.computed
    assert (computed.base_model, computed.encoder) == ("tester/tiny-llama", "tester/tiny-encoder")
    assert computed.num_parameters == sum(p.numel() for p in make_model().memory.parameters())
    assert computed.num_bytes == (adapter / "adapter_model.safetensors").stat().st_size
    assert computed.details["soft tokens that the LM reads"] == 6
    assert computed.versions["PyTorch"] == torch.__version__


@pytest.mark.parametrize("name", ["base_model_name_or_path", "encoder_name_or_path"])
def test_folders_of_this_computer_are_not_named(adapter, name):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, name: str(adapter)}))
    write_card("adapter", adapter, CardFacts())
    assert str(adapter) not in (adapter / "README.md").read_text()


def test_facts_of_other_weights_are_refused(adapter):
    facts = CardFacts()
    write_card("adapter", adapter, facts)
    facts.save(adapter)
    weights = adapter / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"^The facts must be of the weights in 'adapter', but were noted for others"):
        write_card("adapter", adapter, CardFacts.load(adapter))


def test_a_folder_without_a_model_is_refused(tmp_path):
    message = (
        f"Expected a saved classifier with `config.json`, found none in '{tmp_path}'. "
        "Pass the folder that `save_pretrained` wrote."
    )
    with refused(FileNotFoundError, message):
        write_card("classifier", tmp_path, CardFacts())


def test_a_card_with_damaged_metadata_is_refused(adapter):
    (adapter / "README.md").write_text("---\na: [1\n---\n")
    message = (
        "'README.md' must begin with a YAML mapping between two lines of `---`, but its metadata can't be read "
        "(ParserError). Mend or delete it."
    )
    with refused(ValueError, message):
        write_card("adapter", adapter, CardFacts())


def test_facts_are_kept_beside_the_weights(tmp_path):
    assert CardFacts.load(tmp_path) == CardFacts()
    all_facts().save(tmp_path)
    assert CardFacts.load(tmp_path) == all_facts()


@pytest.mark.parametrize(("content", "error"), [("{", "JSONDecodeError"), ("{}", "KeyError"), ("[]", "TypeError")])
def test_damaged_facts_are_refused(tmp_path, content, error):
    (tmp_path / "card_facts.json").write_text(content)
    with pytest.raises(ValueError, match=rf"^'card_facts.json' must hold the facts .* does not \({error}: "):
        CardFacts.load(tmp_path)
