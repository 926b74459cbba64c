"""A search in a table: its grid, the choice for each row and column, and what is said of it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from sparsead.commands import reproduce
from sparsead.commands import table as table_command
from sparsead.config.search import Point, read_search
from sparsead.errors import ConfigError, TrainingStopped
from sparsead.report.results import measure
from sparsead.report.tabulate import render
from sparsead.report.view import build_view
from sparsead.runs.interrupt import Watch
from sparsead.runs.prerequisites import list_sources
from sparsead.runs.record import RunRecord, write_result
from sparsead.runs.request import RunRequest
from sparsead.runs.staging import staged
from sparsead.search import search_cells
from sparsead.tables.cells import Cell, TableSpec, list_cells
from sparsead.tables.estimate import (
    Throughput,
    describe_plan,
    find_unmeasured,
    write_throughput,
)
from sparsead.tables.files import load_table
from sparsead.tables.searches import count_searches
from sparsead.tables.sweep import count_states, run_cells
from synthetic import synthetic_result

TABLE = """\
backbones: tiny-bert
seeds: 2
average: true
baseline: pfeiffer
comparisons: [s-pfeiffer]
rows:
  - {experiment: table4/pfeiffer, published: {any: {scores: {demo_mrpc: 80}}}}
  - {experiment: table4/s-pfeiffer}
  - {experiment: table4/fusion, sources: pfeiffer}
columns:
  - {task: demo_mrpc, metric: accuracy}
  - {task: demo_rte, metric: accuracy}
"""
GRID = ("search=grid", "protocol.learning_rate=1e-4,5e-4", "search.epochs=[1,3]")


def searched(folder: Path, *overrides: str, grid: tuple[str, ...] = GRID) -> TableSpec:
    (folder / "mine.yaml").write_text(TABLE, "utf-8")
    return load_table(
        str(folder / "mine.yaml"),
        [*grid, "protocol.batch_size=16", f"outputs={folder / 'outputs'}", *overrides],
    )


def record(request: RunRequest) -> None:
    """Record scores such that 5e-4 and 3 epochs are best on the held-out part, but not on dev."""
    protocol = request.spec.protocol
    chosen_by = protocol.learning_rate + protocol.epochs / 100 + request.spec.seed / 1000
    result: dict[str, Any] = synthetic_result(request)
    result["scores"] = {"accuracy": 0.9 - chosen_by, "f1": 0.5}
    if protocol.selection:
        result["selection"] = {"accuracy": 0.5 + chosen_by}
    with staged(request.folder) as staging:
        (staging / "adapter.safetensors").touch()
        write_result(staging, result, "")


def silent(_event: str, _cell: Cell) -> None:
    pass


def do_all(table: TableSpec) -> None:
    for _ in range(2):  # the fusion's sources have to be chosen first
        run_cells(list_cells(table), record, tell=silent)


def test_a_search_has_the_papers_grid_which_overrides_narrow(tmp_path: Path) -> None:
    assert len(read_search("grid", {}).points) == len(read_search("asha", {}).points) == 80
    cells = list_cells(searched(tmp_path, "only=row=pfeiffer"))
    points = [Point(rate, epochs, 16) for rate in (1e-4, 5e-4) for epochs in (1, 3)]
    assert {cell.point for cell in cells} == {*points}
    assert len(cells) == 2 * 2 * 4  # columns, seeds and points
    for cell in cells:
        protocol = cell.spec.protocol
        assert (protocol.learning_rate, protocol.epochs, protocol.batch_size) == cell.point
        assert protocol.selection == 0.1
    text = describe_plan(cells)
    assert "search: points x cells x seeds = 4 x 2 x 2; without a search 4 runs" in text
    assert "16 runs: 0 done" in text


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search=gird", "did you mean grid"),
        ("search.epochs=[]", "must be a list of at least one value"),
        ("search.epochs=[x]", "search.epochs"),
        ("search.epochs=[2,2]", "has 2 twice"),
        ("search.epoch=[2]", "did you mean search.epochs"),
        ("search.first_rung=2", "search.first_rung"),
        ("protocol.batch_size=8", r"batch_size=16 already"),
    ],
)
def test_a_wrong_search_is_one_line(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        searched(tmp_path, override, grid=("search=grid",))
    assert "\n" not in str(error.value)


def test_a_key_of_a_search_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="works only with search=grid or search=asha"):
        searched(tmp_path, "search.epochs=[5]", grid=())


@pytest.mark.slow
def test_the_point_is_chosen_for_each_cell_on_the_held_out_part_over_all_seeds(
    tmp_path: Path,
) -> None:
    table = searched(tmp_path)
    first = [cell for cell in list_cells(table) if cell.seed == 1 and not cell.waits]
    run_cells(first, record, tell=silent)
    (half, *_) = measure(table).places.values()
    assert half.estimate is None
    assert str(half) == "0 of 4 points"
    do_all(table)
    results = measure(table)
    for row in ("pfeiffer", "s-pfeiffer", "fusion"):
        found = results.at("tiny-bert", row, "demo_mrpc")
        assert found.choice is not None
        assert found.choice.point == Point(5e-4, 3, 16)
        assert found.scores == {s: pytest.approx(100 * (0.8695 - s / 1000)) for s in (1, 2)}
    for cell in list_cells(table):
        for source in list_sources(cell.spec):
            config = json.loads((Path(source) / "result.json").read_text())["config"]
            assert config["protocol"]["learning_rate"] == 5e-4
            assert (config["protocol"]["epochs"], config["seed"]) == (3, cell.seed)
    text = render(build_view(results), "md")
    assert text.count(r" \[0.0005, 3, 16\]") == 6
    assert "of the point chosen among 4 for each row and task" in text
    assert "the dev set had no part in the choice" in text
    assert "Ours are not the best" not in text
    lines = json.loads(render(build_view(results), "json"))["cells"]
    assert (lines[0]["learning_rate"], lines[0]["epochs"], lines[0]["batch_size"]) == (5e-4, 3, 16)


@pytest.mark.slow
def test_scores_whose_point_was_chosen_on_the_dev_set_are_labelled(tmp_path: Path) -> None:
    table = searched(tmp_path, "protocol.selection=0", "only=row=pfeiffer")
    do_all(table)
    results = measure(table)
    found = results.at("tiny-bert", "pfeiffer", "demo_mrpc")
    assert "[0.0001, 1, 16; chosen on dev]" in str(found)
    assert "these scores are chosen on the dev set" in "\n".join(build_view(results).notes)


@pytest.mark.slow
def test_a_point_with_a_failed_seed_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    table = searched(tmp_path, "only=row=pfeiffer")

    def execute(request: RunRequest) -> None:
        protocol = request.spec.protocol
        if (protocol.learning_rate, protocol.epochs, request.spec.seed) == (5e-4, 3, 2):
            raise ZeroDivisionError("as planned")
        record(request)

    run_cells(list_cells(table), execute, tell=silent)
    results = measure(table)
    found = results.at("tiny-bert", "pfeiffer", "demo_mrpc")
    assert found.choice is not None
    assert found.choice.point == Point(1e-4, 3, 16)
    assert "Left out because a run failed: 2 points." in "\n".join(build_view(results).notes)
    assert count_states(list_cells(table)) == {"done": 14, "failed": 2}


class FakeTraining:
    """Scores that grow with the rate and the epochs; seed 1 likes a small rate, seed 2 a large one.

    Seed 2 likes it more, so that only the mean over both seeds prefers the large rate.
    """

    def __init__(self) -> None:
        self.begun: list[RunRequest] = []

    def __call__(self, request: RunRequest, watch: Watch | None = None) -> RunRecord:
        self.begun.append(request)
        if watch is None:
            record(request)
            return RunRecord.read(request.folder)
        protocol = request.spec.protocol
        liking = {1: -1, 2: 3}[request.spec.seed]
        scores: list[float] = []
        for epoch in range(1, protocol.epochs + 1):
            scores.append(epoch / 100 + liking * protocol.learning_rate)
            if watch(scores):
                raise TrainingStopped("over")
        raise AssertionError("the search lets no trial score the dev set")


@pytest.mark.slow
def test_asha_chooses_one_point_over_all_seeds_and_records_it_alone(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    grid = ("search=asha", "protocol.learning_rate=1e-4,5e-3", "search.epochs=[1,4]")
    table = searched(tmp_path, "search.reduction=2", grid=grid)
    assert table.search is not None
    cells = list_cells(table)
    assert "search=asha: at most this" in describe_plan(cells, table.search)
    fake = FakeTraining()
    assert search_cells(cells, table.search, fake, silent) == 0
    trained = len(fake.begun)
    search_cells(list_cells(table), table.search, fake, silent)  # the fusion, and nothing twice
    search_cells(list_cells(table), table.search, fake, silent)
    results = measure(table)
    for row in ("pfeiffer", "s-pfeiffer", "fusion"):
        found = results.at("tiny-bert", row, "demo_rte")
        assert found.choice is not None
        assert found.choice.point == Point(5e-3, 4, 16)
        assert found.scores.keys() == {1, 2}
    assert len(fake.begun) == trained * 3 // 2
    assert len(list((tmp_path / "outputs" / "runs").iterdir())) == 3 * 2 * 2
    assert "12 runs: 12 done" in describe_plan(list_cells(table), table.search)
    assert "[0.005, 4, 16]" in str(results.at("tiny-bert", "fusion", "demo_mrpc"))


@pytest.mark.slow
def test_asha_goes_on_with_the_next_cell_where_no_point_finishes(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    table = searched(
        tmp_path, "only=row=pfeiffer", grid=("search=asha", "search.learning_rate=[1e-4]")
    )
    assert table.search is not None
    fake = FakeTraining()

    def train(request: RunRequest, watch: Watch | None = None) -> RunRecord:
        if request.spec.task.name == "demo_mrpc":
            raise RuntimeError("out of memory")
        return fake(request, watch)

    assert search_cells(list_cells(table), table.search, train, silent) == 1
    results = measure(table)
    assert str(results.at("tiny-bert", "pfeiffer", "demo_mrpc")) == "failed"
    assert results.at("tiny-bert", "pfeiffer", "demo_rte").estimate is not None

    # The search that failed begins anew only if it is told to, and the other one is over.
    begun = len(fake.begun)
    assert search_cells(list_cells(table), table.search, fake, silent) == 1
    assert len(fake.begun) == begun
    assert search_cells(list_cells(table), table.search, fake, silent, retry_failed=True) == 0
    assert {run.spec.task.name for run in fake.begun[begun:]} == {"demo_mrpc"}
    assert measure(table).at("tiny-bert", "pfeiffer", "demo_mrpc").estimate is not None


TWO_POINTS = ("search=asha", "search.learning_rate=[1e-4,5e-3]", "search.epochs=[1]")


@pytest.mark.slow
def test_a_point_that_failed_beside_a_chosen_one_is_no_failure_of_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    table = searched(tmp_path, "only=row=pfeiffer", "only=column=demo_mrpc", grid=TWO_POINTS)
    assert table.search is not None
    fake = FakeTraining()

    def train(request: RunRequest, watch: Watch | None = None) -> RunRecord:
        if request.spec.protocol.learning_rate == 5e-3:
            raise RuntimeError("out of memory")
        return fake(request, watch)

    cells = list_cells(table)
    assert count_searches(cells, table.search, retry_failed=False) == 1
    assert search_cells(cells, table.search, train, silent) == 0
    assert count_searches(cells, table.search, retry_failed=True) == 0
    assert reproduce.print_failures(cells, table.search) == 0
    assert not capsys.readouterr().err


@pytest.mark.slow
def test_a_chosen_point_that_fails_ends_no_other_search_and_is_retried_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    table = searched(tmp_path, "only=row=pfeiffer", grid=TWO_POINTS)
    assert table.search is not None
    cells, fake = list_cells(table), FakeTraining()

    def train(request: RunRequest, watch: Watch | None = None) -> RunRecord:
        if watch is None and request.spec.task.name == "demo_mrpc" and request.spec.seed == 2:
            raise RuntimeError("out of memory")
        return fake(request, watch)

    assert search_cells(cells, table.search, train, silent) == 1
    results = measure(table)
    assert results.at("tiny-bert", "pfeiffer", "demo_rte").estimate is not None
    assert str(results.at("tiny-bert", "pfeiffer", "demo_mrpc")) == "failed"
    assert reproduce.print_failures(cells, table.search) == 1
    said = capsys.readouterr().err
    assert "demo_mrpc, tiny-bert: the chosen point, 0.005, 1, 16, failed: RuntimeError" in said
    begun = len(fake.begun)
    assert search_cells(cells, table.search, fake, silent) == 1
    assert len(fake.begun) == begun
    assert search_cells(cells, table.search, fake, silent, retry_failed=True) == 0
    (again,) = fake.begun[begun:]
    assert again.spec.seed == 2


@pytest.mark.slow
def test_a_search_whose_points_all_diverge_has_failed_and_begins_anew_if_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    table = searched(tmp_path, "only=row=pfeiffer", "only=column=demo_mrpc", grid=TWO_POINTS)
    assert table.search is not None
    cells = list_cells(table)

    def diverge(request: RunRequest, watch: Watch | None = None) -> RunRecord:
        assert watch is not None
        assert watch([math.nan])
        raise TrainingStopped(request.folder.name)

    assert search_cells(cells, table.search, diverge, silent) == 1
    assert str(measure(table).at("tiny-bert", "pfeiffer", "demo_mrpc")) == "failed"
    assert reproduce.print_failures(cells, table.search) == 1
    assert "no point finished; the first one: learning rate" in capsys.readouterr().err
    assert search_cells(cells, table.search, FakeTraining(), silent, retry_failed=True) == 0


@pytest.mark.slow
def test_asha_needs_a_part_of_train_to_choose_on(tmp_path: Path) -> None:
    table = searched(tmp_path, "protocol.selection=0", grid=("search=asha",))
    assert table.search is not None
    with pytest.raises(ConfigError, match="compares points on a selection split"):
        search_cells(list_cells(table), table.search, FakeTraining(), silent)


@pytest.mark.slow
def test_a_searched_table_is_done_and_shown_by_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(TABLE, "utf-8")
    words = [str(tmp_path / "mine.yaml"), "only=row=pfeiffer", "only=column=demo_mrpc", "seeds=1"]
    small = ["task.limit=24", "device=cpu", "search.learning_rate=[1e-4,5e-3]"]
    point = ["protocol.epochs=1", "protocol.batch_size=8", f"outputs={tmp_path / 'outputs'}"]
    monkeypatch.setattr("sys.argv", ["x", *words, *small, *point, "search=grid"])
    with pytest.raises(SystemExit) as end:
        reproduce.main()
    assert not end.value.code
    done = capsys.readouterr().out
    assert "search: points x cells x seeds = 2 x 1 x 1; without a search 1 run" in done
    assert "pfeiffer, demo_mrpc, tiny-bert, seed 1, point 0.0001, 1, 8" in done
    shown = [*words, *small, *point[:2], "--best", "--outputs", str(tmp_path / "outputs")]
    monkeypatch.setattr("sys.argv", ["x", *shown])
    table_command.main()
    assert re.search(r"\[(0.0001|0.005), 1, 8\]", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rows:", "the row own-rate of mine says protocol.learning_rate=1e-5"),
        ("columns:", "the column own-rate of mine says protocol.learning_rate=1e-5"),
    ],
)
def test_a_search_replaces_no_value_that_a_row_or_a_column_has_of_its_own(
    tmp_path: Path, line: str, said: str
) -> None:
    own = "name: own-rate, overrides: [protocol.learning_rate=1e-5]"
    added = {"rows:": own, "columns:": f"task: demo_sst2, metric: accuracy, {own}"}[line]
    file = tmp_path / "mine.yaml"
    file.write_text(TABLE.replace(line, f"{line}\n  - {{{added}}}"), "utf-8")
    with pytest.raises(ConfigError, match=said):
        load_table(str(file), GRID)
    axis = line.removesuffix("s:")
    kept = f"only={axis}={'*pfeiffer' if axis == 'row' else 'demo_*'}"
    assert load_table(str(file), [*GRID, kept]).search is not None


def test_a_key_with_plus_signs_narrows_the_grid_too(tmp_path: Path) -> None:
    grid = ("++search=grid", "++protocol.learning_rate=1e-4", "+search.epochs=[3]")
    table = searched(tmp_path, grid=grid)
    assert table.search is not None
    assert table.search.points == [Point(1e-4, 3, 16)]
    assert not [word for word in table.overrides if "learning_rate" in word or "epochs" in word]
    with pytest.raises(ConfigError, match="the search has epochs=1 already"):
        searched(tmp_path, "++protocol.epochs=2", grid=("search=grid", "protocol.epochs=1"))
    with pytest.raises(ConfigError, match="works only with search=grid or search=asha"):
        searched(tmp_path, grid=("+search.epochs=[3]",))


def test_a_plan_measures_each_kind_at_the_grids_smallest_batch_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TABLE, "utf-8")
    words = ["only=row=pfeiffer", f"outputs={tmp_path / 'outputs'}", "search=grid"]
    cells = list_cells(load_table(str(tmp_path / "mine.yaml"), words))
    runs = find_unmeasured(cells).values()
    assert [run.spec.task.name for run in runs] == ["demo_rte", "demo_mrpc"]
    assert {run.spec.protocol.batch_size for run in runs} == {8}
    measured = Throughput(
        fixed=1, train=1, evaluate=1, score=1, examples=(100, 10), scored=(10,), stored=1
    )
    for run in runs:
        write_throughput(run, measured)
    assert not find_unmeasured(cells)
    assert "on this machine, one at a time" in describe_plan(cells)
