from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D

from sparsead.errors import ConfigError
from sparsead.report.histories import find_reached, read_curve
from sparsead.report.marks import set_aside
from sparsead.report.plots import KINDS, draw
from sparsead.report.publish import save_figure
from sparsead.report.results import Place, Results
from sparsead.report.style import cycle_levels, cycle_looks
from sparsead.report.view import build_view
from sparsead.tables.cells import Cell, Column, Row, TableSpec
from table_states import measured

PRUNERS = {"Random": "random", "SNIP": "snip"}

TABLE = TableSpec(
    name="figure",
    title="Figure",
    rows=[
        Row("dense", "Dense"),
        Row("full", "Full"),
        *(
            Row(f"{name}-{share}", f"{label} {share}", series=label)
            for (label, name), share in product(PRUNERS.items(), (20, 40))
        ),
    ],
    columns=[Column("one", "accuracy", label="One"), Column("two", "f1", label="Two")],
    backbones=["small"],
    seeds=3,
    average=["one", "two"],
    baseline="dense",
)


def score(cell: Cell) -> Mapping[str, float | None]:
    value = 0.7 + cell.seed / 50 + (0.1 if cell.row.startswith("snip") else 0.0)
    return {"accuracy" if cell.column == "one" else "f1": value}


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Results:
    return measured(TABLE, score, monkeypatch)


def test_names_are_no_formulas_of_mathematics(results: Results, tmp_path: Path) -> None:
    rows = [replace(row, label=rf"${row.label}\frac{{$") for row in TABLE.rows]
    asked = replace(results, table=replace(TABLE, rows=rows, options={"kind": "score_by_sparsity"}))
    _, svg = save_figure(asked, tmp_path)
    assert rb"$Dense\frac{$" in svg.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_figure_is_the_same_each_time(kind: str, results: Results, tmp_path: Path) -> None:
    asked = replace(results, table=replace(TABLE, options={"kind": kind}))
    one, two = (save_figure(asked, tmp_path / folder) for folder in "ab")
    assert [path.name for path in one] == ["figure.png", "figure.svg"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert b"<!-- Dense -->" in one[1].read_bytes()


def test_the_lines_are_the_means_over_seeds(results: Results) -> None:
    figure = draw(results, "score_by_sparsity")
    assert figure is not None
    (axes,) = figure.axes
    lines = {str(line.get_label()): line for line in axes.lines}
    assert set(lines) == {"Random", "SNIP", "Dense", "Full"}
    assert np.allclose(lines["SNIP"].get_xydata(), [[20, 84], [40, 84]])
    assert np.allclose(lines["Dense"].get_ydata(), 74)


def test_one_sparsity_is_drawn_as_marks_side_by_side(results: Results) -> None:
    rows = [row for row in TABLE.rows if row.name.endswith("-20")]
    table = replace(TABLE, rows=rows, baseline=rows[0].name)
    figure = draw(replace(results, table=table), "score_by_sparsity")
    assert figure is not None
    (axes,) = figure.axes
    marks = [c.lines[0] for c in axes.containers if isinstance(c, ErrorbarContainer)]
    assert points_aside(axes, marks) == pytest.approx([0, 0.012])
    low, high = axes.get_xlim()
    assert low <= 15
    assert high >= 25


def test_it_is_marked_where_each_row_has_gone_most_of_its_own_way(results: Results) -> None:
    for record in results.at("small", "full", "one").records.values():
        for entry, score in zip(record.result["history"], (0.1, 0.7, 0.7, 0.7), strict=True):
            entry["scores"]["accuracy"] = score
    figure = draw(results, "score_by_training")
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["One, small", "Two, small"]
    stars = [line.get_xydata() for line in figure.axes[0].lines if line.get_marker() == "*"]
    # a course rises by quarters, and is at 90 % of its way only at its end
    assert np.allclose(np.concatenate(stars)[:2], [[100, 74], [50, 70]])
    assert len(stars) == len(TABLE.rows)


def test_a_course_that_does_not_rise_has_no_mark(results: Results) -> None:
    for record in results.at("small", "full", "one").records.values():
        for entry, score in zip(record.result["history"], (0.7, 0.6, 0.8, 0.5), strict=True):
            entry["scores"]["accuracy"] = score
    figure = draw(results, "score_by_training")
    assert figure is not None
    marked = [sum(line.get_marker() == "*" for line in axes.lines) for axes in figure.axes]
    assert marked == [len(TABLE.rows) - 1, len(TABLE.rows)]


def test_a_course_that_stopped_early_ends_where_it_stopped(results: Results) -> None:
    """Two of three runs stop after half of the plan; the mark is where all of them have been."""
    for seed, record in results.at("small", "full", "one").records.items():
        record.result["config"]["protocol"] = {"epochs": 4, "patience": 1}
        for entry, score in zip(record.result["history"], (0.1, 0.7, 0.7, 0.7), strict=True):
            entry["scores"]["accuracy"] = score
        if seed > 1:
            record.result["history"] = record.result["history"][:2]
    figure = draw(results, "score_by_training")
    assert figure is not None
    lines = [line for line in figure.axes[0].lines if line.get_color() == list_colours()[1]]
    assert np.allclose(lines[0].get_xdata(), [25, 50])
    assert np.allclose(lines[-1].get_xydata(), [[50, 70]])


def list_colours() -> list[str]:
    return [look.color for look in islice(cycle_looks(), len(TABLE.rows))]


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("mae", "hundredths of the labels' unit"),
        ("mse", "hundredths of the labels' unit squared"),
        ("hard_mse", "hundredths of the labels' unit squared"),
        ("perplexity", "100 times the score"),
    ],
)
def test_errors_are_not_in_percent(metric: str, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = replace(TABLE, columns=[Column("one", metric, label="One")], average=[])
    results = measured(table, lambda cell: {metric: 0.7 + cell.seed / 50}, monkeypatch)
    for place in results.places.values():
        for record in place.records.values():
            record.result.update({"directions": {metric: "lower"}, "data": {"hard": {}}})
    figure = draw(results, "score_by_sparsity")
    assert figure is not None
    assert figure.axes[0].get_ylabel() == f"One, {metric} ({unit})"
    assert f"One: {metric} in {unit}; lower is better." in build_view(results).notes


def test_a_course_on_the_held_out_part_of_train_is_labelled_so(results: Results) -> None:
    """As with `protocol=clean`, of which the table has the scores on the dev set."""
    held_out = [
        record
        for place, seen in results.places.items()
        for record in seen.records.values()
        if place.column == "one" or place.row == "full"
    ]
    for record in held_out:
        record.result["selection"] = {"accuracy": 0.9}
    figure = draw(results, "score_by_training")
    assert figure is not None
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "One, accuracy (%)\non the held-out part of train",
        "Two, f1 (%)\nin part on the held-out part of train",
    ]
    figure = draw(results, "score_by_sparsity")  # of the scores after training
    assert figure is not None
    assert "held-out" not in figure.axes[0].get_ylabel()


def test_a_course_is_by_the_share_of_training(results: Results) -> None:
    record = results.at("small", "dense", "one").records[1]
    curve = read_curve(record, "accuracy")
    assert curve is not None
    assert list(curve.scores) == [0.25, 0.5, 0.75, 1]
    assert curve.scores[1] == curve.final == pytest.approx(72)
    assert find_reached(curve, 0.3) == 0.5
    assert read_curve(record, "absent") is None


def test_points_of_the_same_size_do_not_hide_each_other(results: Results) -> None:
    axes, lines = draw_points(results)
    assert len(lines) == len(TABLE.rows)
    shares = [float(np.ravel(line.get_xdata())[0]) for line in lines]
    assert shares == pytest.approx([1.23] * len(lines))  # the axis says the true share
    low, high = axes.get_ylim()
    assert all(low < float(np.ravel(line.get_ydata())[0]) < high for line in lines)
    assert min(np.diff(points_aside(axes, lines))) == pytest.approx(0.012)
    assert axes.get_xlabel().endswith("bars: one standard deviation over the seeds")


def test_many_points_of_the_same_size_are_drawn_near_their_place(results: Results) -> None:
    many = replace(results, table=replace(TABLE, rows=[*TABLE.rows] * 5))
    axes, lines = draw_points(many)
    assert len(lines) == 5 * len(TABLE.rows)
    aside = points_aside(axes, lines)
    assert min(np.diff(aside)) > 0.003
    assert -0.056 <= min(aside) < 0 < max(aside) <= 0.056


@given(st.lists(st.integers(0, 10**4).map(lambda place: place / 10**4), max_size=30))
def test_marks_are_never_drawn_in_another_order_than_their_sizes(places: list[float]) -> None:
    drawn = [place + aside for place, aside in zip(places, set_aside(places), strict=True)]
    pairs = list(combinations(range(len(places)), 2))
    assert all(drawn[i] < drawn[j] for i, j in pairs if places[i] < places[j])
    assert all(drawn[i] != drawn[j] for i, j in pairs if places[i] == places[j])
    for place in {place for place in places if places.count(place) == 1}:
        assert drawn[places.index(place)] == place


def test_of_equal_marks_the_one_on_the_front_stays_at_its_place() -> None:
    shifts = set_aside([0.5, 0.5, 0.5, 0.9], first={2})
    assert shifts == pytest.approx([0.012, -0.012, 0, 0])


def test_a_size_is_that_of_the_weights_that_train(results: Results) -> None:
    """AdapterFusion's sources count for the paper's #param, and do not train."""
    counts = {"nominal": 0.0123, "backbone": 10**6, "head": 500, "trainable_nonzero": 2500}
    for column in ("one", "two"):
        for record in results.at("small", "full", column).records.values():
            record.result["parameters"] = counts
            record.result["config"]["adapter"] = {"options": {}}
    _, lines = draw_points(results)
    shares = [float(np.ravel(line.get_xdata())[0]) for line in lines]
    assert sorted(shares) == pytest.approx([0.2, *([1.23] * (len(lines) - 1))])


def draw_points(results: Results) -> tuple[Axes, list[Line2D]]:
    figure = draw(results, "score_by_parameters")
    assert figure is not None
    figure.draw_without_rendering()
    axes = figure.axes[0]
    return axes, [c.lines[0] for c in axes.containers if isinstance(c, ErrorbarContainer)]


def points_aside(axes: Axes, lines: Sequence[Line2D]) -> list[float]:
    """Return how far each mark is drawn from its place, in widths of the axes, in order."""
    places = [
        axes.transAxes.inverted().transform(transform.transform(line.get_xydata()))[0, 0]
        for line in lines
        for transform in (line.get_transform(), axes.transData)
    ]
    return sorted(float(drawn - own) for drawn, own in zip(places[::2], places[1::2], strict=True))


def test_horizontal_lines_differ_in_their_dashes_or_their_colour() -> None:
    found = [(look.color, look.line) for look in islice(cycle_levels(), 24)]
    assert len(set(found)) == 24


def test_each_row_without_a_sparsity_has_a_line_of_its_own(results: Results) -> None:
    rows = [Row(f"dense-{number}", f"Dense {number}") for number in "abcdefgh"]
    dense = results.at("small", "dense", "one")
    places = {Place("small", row.name, "one"): dense for row in rows}
    table = replace(TABLE, rows=rows, average=[], baseline=rows[0].name)
    figure = draw(Results(table, places), "score_by_sparsity")
    assert figure is not None
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert colours == [look.color for look in islice(cycle_levels(), len(rows))]


def test_series_differ_without_their_colour() -> None:
    found = list(islice(cycle_looks(), 10))
    assert len({(look.marker, look.line) for look in found}) == 10
    assert len({look.color for look in found[:8]}) == 8  # the rows of figure 1


def test_every_label_of_a_size_is_of_the_same_height(results: Results) -> None:
    figure = draw(results, "score_by_parameters")
    assert figure is not None
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticklabels(which="both")
    labelled = {tick.get_text(): tick.get_window_extent().y1 for tick in ticks if tick.get_text()}
    assert "2 %" in labelled
    assert len({round(top) for top in labelled.values()}) == 1


def test_nothing_is_drawn_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = measured(TABLE, lambda _: "missing", monkeypatch)
    assert [draw(empty, kind) for kind in KINDS] == [None] * len(KINDS)
    with pytest.raises(ConfigError, match="did you mean score_by_sparsity"):
        draw(empty, "score_by_sparse")
