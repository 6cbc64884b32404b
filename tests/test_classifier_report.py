"""The detector's report: its rows by hand, its plot, its page on two small sets."""

import pytest
from pref_lstm.modeling.turn import Detection
from pref_lstm.training import classifier_report
from pref_lstm.training.classifier_plots import Judged, plot_detection

ROWS = [
    {"agent": "", "user": "i love tea", "preference": 1},
    {"agent": "Tea | coffee?", "user": "hello\nthere", "preference": 0},
    {"agent": "", "user": "no tea", "preference": 1},
    {"agent": "", "user": "what is tea", "preference": 0},
]
MINE = [Detection(p, p >= 0.5, "") for p in (0.9, 0.8, 0.3, 0.1)]
RULES = [Detection(0.9, True, 'rule "opinion": i love'), *[Detection(0.1, False, "no rule matched")] * 3]
LABELS = [row["preference"] for row in ROWS]


def test_rows_by_hand():
    row = classifier_report.table_row("mine", LABELS, MINE, RULES)
    assert row == "| mine | 4 | 2 | 0.500 | 0.500 | 0.500 | 0.500 | 0.833 | 0.750 | 1.000 | 0.500 | 0.667 |"
    assert classifier_report.agreement_row("mine", LABELS, MINE, RULES) == "| mine | 2 | 0 | 1 | 1 |"
    assert classifier_report.example_rows("mine", ROWS, MINE, RULES) == [
        '| mine | let in, rightly |  | i love tea | 0.90 | "opinion": i love |',
        "| mine | let in, wrongly | Tea \\| coffee? | hello there | 0.80 |  |",
        "| mine | missed |  | no tea | 0.30 |  |",
        "| mine | left out, rightly |  | what is tea | 0.10 |  |",
    ]


class Always:
    """Gives the same four detections to any four turns."""

    def __init__(self, detections):
        self.detections = detections

    def detect(self, turns):
        return (self.detections * len(turns))[: len(turns)]


@pytest.mark.parametrize("prompts", [True, False])
def test_page_and_plot(tmp_path, monkeypatch, capsys, prompts):
    sets = {classifier_report.HAND_WRITTEN: list(ROWS)}
    if prompts:
        sets[classifier_report.PROMPTS] = [{**row, "preference": 0} for row in ROWS]
    detectors = {None: Always(MINE), "heuristic": Always(RULES)}
    monkeypatch.setattr(classifier_report, "load_detector", detectors.get)
    monkeypatch.setattr(classifier_report, "evaluation_sets", lambda *_: sets)
    classifier_report.main(["--output", str(tmp_path / "docs")])
    page = (tmp_path / "docs" / "detection.md").read_text("utf-8")
    assert page in capsys.readouterr().out
    assert ("False alarms on 4 OASST1 prompts of held-out trees: 50.0% (rules: 25.0%)." in page) == prompts
    assert "None" not in page.replace("None of its text", "") and "\n\n\n" not in page
    assert (tmp_path / "docs" / "detection.png").stat().st_size > 10_000


def test_a_plot_needs_no_prompts(tmp_path):
    judged = Judged([0, 1] * 10, [number / 20 for number in range(20)], [True, False] * 10)
    plot_detection({"mine": judged}, [], 0.5, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").exists()
