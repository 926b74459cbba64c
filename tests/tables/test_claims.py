"""The keys of a table's claims, and other values of a table's file that cannot be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsead.errors import ConfigError
from sparsead.report.claims import JUDGES
from sparsead.report.plots import KINDS
from sparsead.report.results import Measured
from sparsead.report.view import ViewCell
from sparsead.tables.checks import FIGURES
from sparsead.tables.claims import KEYS, check_claim
from sparsead.tables.columns import published_difference
from sparsead.tables.files import load_table

ROWS = ["dense", "snip", "random"]
BEATS = {"kind": "beats", "text": "x", "row": "snip", "over": "dense"}
EARLIER = {"kind": "earlier", "text": "x", "row": "snip", "than": "dense", "share": 0.2}


def test_every_kind_of_claim_and_figure_is_known_in_both_places() -> None:
    assert KEYS.keys() == JUDGES.keys()
    assert sorted(FIGURES) == sorted(KINDS)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (BEATS | {"kind": "beat"}, "kind=beat: no such choice; did you mean beats?"),
        ({"kind": "beats", "text": "x", "row": "snip"}, "a claim of kind beats needs the key over"),
        ({**BEATS, "pionts": 5}, "pionts: no such key; did you mean points?"),
        ({**BEATS, "points": float("inf")}, "points=inf: must be a finite number, at least 0"),
        ({**BEATS, "points": True}, "points=True: must be a finite number"),
        ({**BEATS, "points": -2}, "points=-2: must be a finite number, at least 0"),
        ({**BEATS, "over": "snip"}, "beats: compares the row snip with itself"),
        ({**BEATS, "columns": "rte"}, "columns=rte: must be a list of at least one"),
        ({**BEATS, "column": "cola"}, "column=cola: no such choice"),
        ({**BEATS, "column": "rte", "columns": ["rte"]}, "column and columns are both given"),
        ({**EARLIER, "reached": 7}, "reached=7: must be a finite number, from 0 to 1"),
        ({**EARLIER, "share": 40}, "share=40: must be a finite number, from 0 to 1"),
        ({"kind": "rises", "text": "x", "rows": "snip"}, "rows=snip: must be a list"),
        ({"kind": "rises", "text": "x", "rows": ["snip"]}, "needs two rows"),
        ({"kind": "best", "text": "x", "row": "snip", "rows": []}, "rows=[]: must be a list"),
        ({"kind": "keeps", "text": "x", "pairs": [["snip"]]}, "must be a list of pairs"),
        ({"kind": "keeps", "text": "x", "pairs": [[["snip"], "dense"]]}, "must be a list of pairs"),
        ({"kind": "rises", "text": "x", "rows": [["snip", "dense"], "x"]}, "must be a list of na"),
        ({**BEATS, "columns": ["rte", "rte"]}, "columns: rte is named twice; name it once"),
        (
            {"kind": "best", "text": "x", "row": "snip", "rows": ["dense", "dense"]},
            "rows: dense is named twice",
        ),
        (
            {"kind": "keeps", "text": "x", "pairs": [["dense", "snip"], ["dense", "snip"]]},
            "pairs: dense, snip is named twice",
        ),
        ({**BEATS, "columns": [["rte"]]}, "columns=[['rte']]: must be a list of names"),
        (
            {"kind": "comparable", "text": "x", "rows": ["snip"], "of": "dense", "points": 0},
            "points=0: the margin of a claim that is comparable is above 0",
        ),
    ],
)
def test_a_wrong_claim_is_named(claim: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_claim(claim, ROWS, ["rte", "avg"])
    assert message in str(caught.value)


def test_a_claim_about_the_average_needs_one() -> None:
    check_claim(BEATS, ROWS, ["rte", "avg"])
    with pytest.raises(ConfigError, match="the table has no average; say in which column"):
        check_claim(BEATS, ROWS, ["rte"])
    check_claim(EARLIER, ROWS, ["rte"])


ROW = {"label": "dense", "overrides": ["pruner=none"]}
SNIP = {"label": "snip", "overrides": ["pruner=snip"], "not_run": {"rte": "it is too slow"}}


@pytest.mark.parametrize(
    ("claim", "refused"),
    [
        (BEATS, True),  # about the average, of which rte is a part
        ({**BEATS, "column": "rte"}, True),
        ({**BEATS, "column": "mrpc"}, False),
        (EARLIER, True),
    ],
)
def test_a_claim_about_a_cell_without_runs_is_refused(
    claim: dict[str, Any], refused: bool, tmp_path: Path
) -> None:
    """It would stand as not measured yet for ever."""
    columns = [{"task": task, "metric": "accuracy"} for task in ("rte", "mrpc")]
    average = {"average": ["rte", "mrpc"]}
    values = {"rows": [ROW, SNIP], "columns": columns, "claims": [claim], **average}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    if not refused:
        assert load_table(str(tmp_path / "mine.yaml")).claims == [claim]
        return
    with pytest.raises(ConfigError, match="claim 1: x: the row snip has no runs in rte, as its k"):
        load_table(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"average": ["rte", "rte"]}, "average: rte is named twice"),
        ({"baseline": "dense", "comparisons": ["dense"]}, "comparisons: dense is the baseline"),
        ({"options": {"kind": "pie"}}, "options: kind=pie: no such choice"),
        ({"options": {"knd": "score_by_sparsity"}}, "options: knd: no such key; did you mean kind"),
        ({"comparisons": ["dense"]}, "comparisons: dense: the table names no row that these are"),
        (
            {"rows": [{**ROW, "published": {"any": {"scores": {"ret": 80.0}}}}]},
            "row dense: published: scores=ret: no such choice; did you mean rte?",
        ),
        (
            {"rows": [{**ROW, "published": {"any": {"scores": {"rte": float("nan")}}}}]},
            "published.scores.rte=nan: must be a finite number",
        ),
    ],
)
def test_a_value_that_no_table_could_have_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    values = {"rows": [ROW], "columns": [{"task": "rte", "metric": "accuracy"}], **changes}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError) as caught:
        load_table(str(tmp_path / "mine.yaml"))
    assert message in str(caught.value)


def test_a_key_given_twice_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: table1\nseeds: 2\naverage: false\nseeds: 3\n")
    with pytest.raises(ConfigError, match="the key seeds is given a second time in line 4"):
        load_table(str(file))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            "  snip: &same {label: a, overrides: [task.limit=2]}\n"
            "  random: {<<: *same, label: b}\n",
            {"snip": "a", "random": "b"},
        ),
        (
            "  snip: &a {label: a, overrides: [task.limit=2]}\n"
            "  random: &b {<<: *a, label: b}\n  magnitude: {<<: *b, overrides: []}\n",
            {"snip": "a", "random": "b", "magnitude": "b"},
        ),
    ],
)
def test_a_merged_key_may_be_given_again(
    tmp_path: Path, rows: str, expected: dict[str, str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"base: table1\nrows:\n{rows}")
    labels = {row.name: row.label for row in load_table(str(file)).rows}
    assert {name: labels[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("options: &o {kind: score_by_sparsity, x: *o}", "nested in more than 50 others"),
        (f"title: {3000 * '['}{3000 * ']'}", "nested in more than 50 others"),
        (f"title: {100_000 * '['}", "nested in more than 50 others"),
        (
            "a: &a [" + "x, " * 400 + "]\nb: &b [" + "*a, " * 400 + "]\nc: [*b]\n",
            "has more than 100000 values, as its aliases repeat them",
        ),
    ],
)
def test_endless_values_are_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"base: table1\n{text}\n")
    with pytest.raises(ConfigError, match=said):
        load_table(str(file))


def test_another_baseline_is_not_compared_with_itself(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: table1\nbaseline: random\n")
    table = load_table(str(file))
    assert table.baseline == "random"
    assert "random" not in table.comparisons
    assert "snip" in table.comparisons


def test_claims_about_an_average_that_is_gone_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: table1\naverage: false\n")
    assert not load_table(str(file)).claims


def test_a_margin_of_the_paper_is_that_of_the_columns_that_are_left() -> None:
    whole, two = load_table("table3"), load_table("table3", ["only=column=mrpc,stsb"])
    pair = "roberta-base", "ls4x", "adapter"
    assert [published_difference(table, *pair, "avg") for table in (whole, two)] == [1.3, 1.1]
    assert published_difference(two, *pair, "cola") == 0.8
    assert [claim["points"] for claim in two.claims if "points" in claim] == ["paper", "paper"]


def test_an_average_of_the_paper_that_is_computed_anew_keeps_two_decimals() -> None:
    table = load_table("table1", ["only=column=mrpc,stsb"])
    printed = [row.published_for("roberta-base") for row in table.rows]
    averages = [each.scores["avg"] for each in printed if each is not None]
    assert {88.9, 88.95} < {*averages}
    assert ViewCell("avg", Measured({}, {}, 1), 88.95, (), None).paper_text == "88.95"
    assert ViewCell("avg", Measured({}, {}, 1), 88.9, (), None).paper_text == "88.9"


def test_a_margin_of_the_paper_needs_its_scores(tmp_path: Path) -> None:
    claim = "{text: x, kind: beats, row: snip-20, over: adapter, points: paper}"
    (tmp_path / "mine.yaml").write_text(f"base: figure2\nclaims: [{claim}]\n", "utf-8")
    with pytest.raises(ConfigError, match="points=paper: the table has no score of the paper"):
        load_table(str(tmp_path / "mine.yaml"))
