from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import ANY

import pytest

from sparsead.report.formats import Marked, to_latex
from sparsead.report.tabulate import TABLE_FORMATS, render
from sparsead.report.view import View, build_view
from sparsead.tables.cells import Cell, Column, Published, Row, TableSpec
from sparsead.tables.checks import FIGURES
from table_states import cells, measured

ODD = r"<script>alert(1)</script> A&B_c | 50 % $x$ #1 {y} ~^\ [red]×−"

TABLE = TableSpec(
    name="two",
    title="Two & <b>one</b>",
    rows=[
        Row("dense", "Dense"),
        Row("snip-40", ODD, published=[Published("big", {"avg": 1.2}, {"one": 80.5})]),
        Row("random-40", "Random"),
    ],
    columns=[Column("one", "accuracy", label="One"), Column("two", "f1", label="Two")],
    backbones=["big"],
    seeds=8,
    average=["one", "two"],
    baseline="dense",
    comparisons=["snip-40", "random-40"],
    claims=[{"text": ODD, "kind": "beats", "row": "snip-40", "over": "dense"}],
)

GAIN = {"dense": 0.0, "snip-40": 0.02, "random-40": 0.019}


def score(cell: Cell) -> Mapping[str, float | None]:
    """Seed s scores 0.8 + s / 100 and what its row gains; random's gain goes up and down."""
    wobble = 0.002 * (-1) ** cell.seed if cell.row == "random-40" else 0.0
    value = 0.8 + cell.seed / 100 + GAIN[cell.row] + wobble
    return {"accuracy" if cell.column == "one" else "f1": value}


def lacking(cell: Cell) -> Mapping[str, float | None] | str:
    if cell.row == "random-40":
        return "failed"
    if cell.row == "snip-40" and cell.column == "one" and cell.seed > 3:
        found: dict[int, Mapping[str, float | None] | str] = {4: "failed", 5: {"accuracy": None}}
        return found.get(cell.seed, "missing")
    return "missing" if cell.row == "dense" else score(cell)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> View:
    return build_view(measured(TABLE, score, monkeypatch))


def test_runs_of_several_precisions_are_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    results = measured(TABLE, score, monkeypatch)
    assert not any(" in fp32" in note for note in build_view(results).notes)
    first, *_ = results.places.values()
    first.records[3].result["environment"]["precision"] = "bf16"
    count = sum(len(found.records) for found in results.places.values())
    (note,) = [note for note in build_view(results).notes if "in bf16" in note]
    assert note.startswith(f"1 run in bf16 and {count - 1} runs in fp32: ")


def test_a_report_lists_an_environment_once_with_the_range_of_its_peak_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = measured(TABLE, score, monkeypatch)
    records = [record for found in results.places.values() for record in found.records.values()]
    for number, record in enumerate(records):
        record.result["environment"] = {
            "python": "3.13",
            "peak_memory_bytes": (500 + number) * 10**6,
        }
    report = render(build_view(results), "html")
    assert report.count("<td>python</td>") == 1
    assert f"<summary>{len(records)} runs</summary>" in report
    assert f"<td>500 to {499 + len(records)} MB</td>" in report


@pytest.mark.parametrize("kind", FIGURES)
def test_a_report_has_every_kind_of_figure_that_a_table_may_ask_for(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = replace(TABLE, options={"kind": kind})
    report = render(build_view(measured(table, score, monkeypatch)), "html")
    assert report.count("<figure>") == 1
    assert report.count("<figcaption>Score ") == 1


def test_the_numbers_are_those_worked_by_hand(shown: View) -> None:
    content = json.loads(render(shown, "json"))
    found = {(line["row"], line["column"]): line for line in content["cells"]}
    # seeds 1…8: 0.8 + 4.5/100; the sample sd of 1…8 is √6
    assert found["dense", "avg"]["mean"] == pytest.approx(84.5)
    assert found["dense", "avg"]["sd"] == pytest.approx(6**0.5)
    assert found["snip-40", "avg"]["difference"] == pytest.approx(2)
    # all 8 of one sign: 2/2⁸; Holm doubles the smallest of two, and neither may fall below it
    assert found["snip-40", "avg"]["p"] == pytest.approx(2 / 256)
    assert [line["p_holm"] for line in content["comparisons"]] == pytest.approx([4 / 256] * 2)
    assert found["snip-40", "one"]["p"] is None
    assert found["snip-40", "one"]["paper"] == 80.5


def test_the_best_is_bold_where_significant_and_its_equals_underlined(shown: View) -> None:
    content = json.loads(render(shown, "json"))
    marks = {line["row"]: line["mark"] for line in content["cells"] if line["column"] == "avg"}
    assert marks == {"dense": None, "snip-40": "bold", "random-40": "underline"}


def test_nothing_is_bold_that_so_few_seeds_cannot_show(monkeypatch: pytest.MonkeyPatch) -> None:
    few = build_view(measured(replace(TABLE, seeds=5), score, monkeypatch))
    content = json.loads(render(few, "json"))
    assert {line["mark"] for line in content["cells"]} == {None}
    (note,) = [note for note in content["notes"] if "bold" in note.lower()]
    assert "no difference can be significant, so that nothing is bold or underlined" in note


@pytest.mark.parametrize(("seeds", "mark"), [(5, None), (6, "underline")])
def test_a_row_of_too_few_seeds_to_tell_is_not_called_an_equal(
    seeds: int, mark: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One comparison takes 6 seeds: 2/2⁵ = 0.0625, 2/2⁶ = 0.031."""

    def random_has_few(cell: Cell) -> Mapping[str, float | None] | str:
        return "missing" if cell.row == "random-40" and cell.seed > seeds else score(cell)

    content = json.loads(
        render(build_view(measured(replace(TABLE, seeds=10), random_has_few, monkeypatch)), "json")
    )
    marks = {line["row"]: line["mark"] for line in content["cells"] if line["column"] == "avg"}
    assert marks == {"dense": None, "snip-40": "bold", "random-40": mark}


def test_collapsed_seeds_are_counted_in_the_cell_and_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def collapsing(cell: Cell) -> Mapping[str, float | None]:
        if cell.row == "snip-40" and cell.column == "one" and cell.seed == 2:
            return {"accuracy": 0.0, "collapsed": 1.0}
        return score(cell)

    shown = build_view(measured(TABLE, collapsing, monkeypatch))
    content = json.loads(render(shown, "json"))
    counts = {
        (line["row"], line["column"]): (line["n"], line["failed"], line["collapsed"])
        for line in content["cells"]
    }
    assert counts["snip-40", "one"] == counts["snip-40", "avg"] == (8, 0, 1)
    assert counts["dense", "one"] == counts["snip-40", "two"] == (8, 0, 0)
    assert [note for note in content["notes"] if "collapsed" in note] == [
        "A collapsed seed predicts the same for all examples; its score is in the mean. "
        "No row with such a seed is bold, and no claim about it is decided."
    ]
    assert "(1 collapsed)" in render(shown, "md")


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "said"), [(1, "1 paired seed;"), (2, "2 paired seeds;")])
@pytest.mark.parametrize("form", ["rich", "md", "latex", "html"])
def test_one_seed_is_no_plural(
    seeds: int, said: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = build_view(measured(replace(TABLE, seeds=seeds), score, monkeypatch))
    text = " ".join(render(shown, form).split())
    assert f"over {said}" in text
    assert ("1 seeds" in text, "1 runs" in text) == (False, False)


def test_averages_are_explained_where_there_are_any(
    shown: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = build_view(measured(replace(TABLE, average=[]), score, monkeypatch))
    explained = [any(note.startswith("Averages") for note in v.notes) for v in (shown, without)]
    assert explained == [True, False]


def test_missing_and_failed_cells_are_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = build_view(measured(TABLE, lacking, monkeypatch))
    text = render(shown, "md")
    dense, snip, random = [line for line in text.splitlines() if line.startswith("| big")][:3]
    assert dense.count("missing") == 3
    assert random.count("failed") == 3
    assert "84.00 ± 1.00 (n=3, 2 failed)" in snip  # seeds 1…3 of 82 + s
    assert shown.compared == ()
    assert "cannot be told: seeds failed or collapsed" in text
    of_values = ("csv", "json")  # as in the next test
    for form in {*TABLE_FORMATS} - {*of_values}:
        assert "missing" in render(shown, form)


def test_values_count_the_missing_and_the_failed_runs_of_a_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = build_view(measured(TABLE, lacking, monkeypatch))
    counts = ("row", "column", "mean", "n", "asked", "failed")
    lines = csv.DictReader(io.StringIO(render(shown, "csv")))
    written = [tuple(line[key] for key in counts) for line in lines]
    cells = json.loads(render(shown, "json"))["cells"]
    of_json = [tuple("" if c[key] is None else str(c[key]) for key in counts) for c in cells]
    assert written == of_json
    of_column_one = [line for line in written if line[1] == "one"]
    assert of_column_one == [
        ("dense", "one", "", "0", "8", "0"),
        ("snip-40", "one", ANY, "3", "8", "2"),
        ("random-40", "one", "", "0", "8", "8"),
    ]
    assert float(of_column_one[1][2]) == pytest.approx(84)


def test_a_row_without_runs_in_a_column_says_why_and_is_not_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    *others, random = TABLE.rows
    unlike = replace(random, not_run={"two": "it cannot be trained there."})
    table = replace(TABLE, rows=[*others, unlike])
    shown = build_view(measured(table, score, monkeypatch))
    assert "Random has no runs in Two: it cannot be trained there." in shown.notes
    text = render(shown, "md")
    (row,) = [line for line in text.splitlines() if "| Random |" in line]
    assert row.count("86.40") == 1
    assert row.count("–") == 2  # in the column, and in the average
    assert "missing" not in text
    compared = {each.place.column for each in shown.compared if each.place.row == random.name}
    assert not compared  # the tested column is the average


@pytest.mark.parametrize("form", ["md", "html"])
def test_without_a_dense_row_a_cell_names_each_row_that_it_is_compared_with(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [
        {"text": over, "kind": "beats", "row": "snip-40", "over": over, "column": "one"}
        for over in ("dense", "random-40")
    ]
    table = replace(TABLE, baseline=None, comparisons=[], claims=claims, tested=["one"])

    def fewer(cell: Cell) -> Mapping[str, float | None] | str:
        return "missing" if cell.row == "random-40" and cell.seed > 6 else score(cell)

    shown = build_view(measured(table, fewer, monkeypatch))
    text = render(shown, form)
    assert "from Dense:" in text
    assert "from Random:" in text
    assert ": from the row that is named, with" in " ".join(shown.notes)
    if form == "md":
        assert re.search(r"from Dense:<br>\+2\.00, p", text)
        assert re.search(r"from Random:<br>\+0\.10 \(n=6\), p", text)
    (cell,) = (each for each in shown.rows[1].cells if each.column == "one")
    assert [each.baseline for each in cell.compared] == ["dense", "random-40"]


@pytest.mark.slow
@pytest.mark.parametrize("form", sorted(TABLE_FORMATS))
def test_times_do_not_change_a_byte(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (build_view(measured(TABLE, score, monkeypatch, seconds)) for seconds in (1.0, 99.0))
    assert render(one, form) == render(two, form)


def test_csv_has_a_line_for_every_cell(shown: View) -> None:
    lines = list(csv.DictReader(io.StringIO(render(shown, "csv"))))
    assert len(lines) == 3 * 3
    assert {line["label"] for line in lines} == {"Dense", ODD, "Random"}


def test_markdown_keeps_its_columns_whatever_the_names(shown: View) -> None:
    table = render(shown, "md").split("\n\n")[0].splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert "<script>" not in render(shown, "md")


def test_rich_does_not_read_a_name_as_markup(shown: View) -> None:
    assert ODD in render(shown, "rich")


def test_latex_escapes_what_latex_would_read(shown: View) -> None:
    text = render(shown, "latex")
    body = [line for line in text.splitlines() if not line.startswith("%")]
    (row,) = [line for line in body if "script" in line]
    for escaped in (r"A\&B\_c", r"50 \%", r"\$x\$", r"\#1", r"\{y\}", r"$\times$$-$"):
        assert escaped in row
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body if "\\\\" in line}) == 1
    assert r"\textbf{" in row


def test_latex_keeps_the_space_before_a_minus_sign() -> None:
    text = to_latex(["name"], [{"name": "from [-23.68, -12.15] to -2"}])
    assert "from [$-$23.68, $-$12.15] to $-$2" in text


def test_latex_aligns_numbers_below_a_caption_and_is_never_too_wide(shown: View) -> None:
    lines = [line for line in render(shown, "latex").splitlines() if not line.startswith("%")]
    assert lines[:2] == [r"\begin{table}", r"\centering"]
    assert lines[2].startswith(r"\caption{")
    assert r"\resizebox{\ifdim\width>\linewidth" in lines[3]
    (begin,) = [line for line in lines if line.startswith(r"\begin{tabular}")]
    assert set(begin.partition("}{")[2].rstrip("}")[2:]) == {"r"}  # backbone and method on the left
    assert [line for line in lines if r"\footnotesize paper 80.5" in line]


def test_latex_names_its_packages_and_prints_minus_signs_before_numbers() -> None:
    rows = [{"name-1": "x-2", "score": Marked("-0.5", below=("-0.1, p 0.3", "[-0.2, +0.3]"))}]
    first, *lines = to_latex(["name-1", "score"], rows).splitlines()
    assert first == r"% \usepackage{booktabs, graphicx}"
    assert r"x-2 & $-$0.5 \\" in lines
    assert r"name-1 & score \\" in lines
    assert r" & \footnotesize $-$0.1, p 0.3 \\" in lines
    assert r" & \footnotesize [$-$0.2, +0.3] \\" in lines


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(shown: View, tmp_path: Path) -> None:
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,graphicx}"
    body = f"{head}\\begin{{document}}\n{render(shown, 'latex')}\\end{{document}}\n"
    (tmp_path / "table.tex").write_text(body, "utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_stands_alone_and_escapes_every_name(shown: View) -> None:
    page = Tags()
    page.feed(render(shown, "html"))
    tags = {tag for tag, _ in page.seen}
    assert not tags & {"script", "link", "b", "iframe"}
    assert ODD in page.text
    assert TABLE.title in page.text
    images = [attributes["src"] or "" for tag, attributes in page.seen if tag == "img"]
    assert images
    assert all(source.startswith("data:image/svg+xml;base64,") for source in images)
    links = [attributes["href"] for tag, attributes in page.seen if tag == "a"]
    assert len(links) == len(cells(TABLE))
    for words in ("paper 80.5", "p = 0.0156", "holds", "precision", "task:"):
        assert words in page.text, words
