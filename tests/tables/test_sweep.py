from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from sparsead.errors import StorageError
from sparsead.runs.failure import read_failures
from sparsead.runs.prerequisites import list_sources
from sparsead.runs.record import write_result
from sparsead.runs.request import RunRequest
from sparsead.runs.staging import staged
from sparsead.runs.states import Done, Failed, Missing, Running, read_state
from sparsead.tables.cells import Cell, list_cells
from sparsead.tables.files import load_table
from sparsead.tables.sweep import count_states, run_cells
from synthetic import synthetic_result


@pytest.fixture
def wanted(tmp_path: Path) -> list[Cell]:
    rows = "only=row=fine-tune,adapter,ls*"
    changes = ["backbone=tiny-bert", "seeds=1", "only=column=mrpc", rows, f"outputs={tmp_path}"]
    return list_cells(load_table("table3", changes))


def record(request: RunRequest) -> None:
    with staged(request.folder) as staging:
        (staging / "adapter.safetensors").touch()
        write_result(staging, synthetic_result(request), "")


def silent(_event: str, _cell: Cell) -> None:
    pass


def test_a_failure_is_recorded_and_does_not_stop_the_rest(
    wanted: list[Cell], tmp_path: Path
) -> None:
    broken = {2}
    attempts: list[int] = []

    def execute(request: RunRequest) -> None:
        attempts.append([cell.request for cell in wanted].index(request))
        if attempts[-1] in broken:
            raise ZeroDivisionError("as planned")
        record(request)

    run_cells(wanted, execute, tell=silent)
    assert count_states(wanted) == {"done": 4, "failed": 1}
    ((_, failure),) = read_failures(tmp_path)
    assert "ZeroDivisionError: as planned" in failure["traceback"]
    assert failure["config"]["adapter"]["options"]["bottleneck"] == 128
    run_cells(wanted, execute, tell=silent)
    assert attempts == [0, 1, 2, 3, 4]
    assert run_cells(wanted, execute, retry_failed=True, tell=silent).failed
    broken.clear()
    run_cells(wanted, execute, retry_failed=True, tell=silent)
    assert attempts == [0, 1, 2, 3, 4, 2, 2]
    assert count_states(wanted) == {"done": 5}
    assert list(read_failures(tmp_path)) == []


def test_a_damaged_record_counts_as_failed_and_is_replaced_when_asked(wanted: list[Cell]) -> None:
    for cell in wanted:
        record(cell.request)
    damaged = wanted[1].request
    (damaged.folder / "result.json").write_text("{}")
    assert count_states(wanted) == {"done": 4, "failed": 1}
    replaced: list[RunRequest] = []
    run_cells(wanted, replaced.append, tell=silent)
    assert replaced == []
    run_cells(wanted, replaced.append, retry_failed=True, tell=silent)
    assert replaced == [replace(damaged, rerun=True)]


def test_a_full_disk_stops_the_sweep_and_leaves_nothing_half(
    wanted: list[Cell], tmp_path: Path
) -> None:
    def execute(request: RunRequest) -> None:
        with staged(request.folder) as staging:
            (staging / "result.json").write_text("{")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="disk is full"):
        run_cells(wanted, execute, tell=silent)
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}


@pytest.mark.slow
def test_an_error_of_the_run_is_not_taken_for_one_of_the_disk(wanted: list[Cell]) -> None:
    def execute(_request: RunRequest) -> None:
        with staged(_request.folder):
            raise ConnectionError("no route to the hub")

    run_cells(wanted, execute, tell=silent)
    assert count_states(wanted) == {"failed": 5}


def test_the_states_of_a_run(wanted: list[Cell]) -> None:
    request = wanted[0].request
    assert isinstance(read_state(request.folder), Missing)
    with staged(request.folder) as staging:
        assert isinstance(read_state(request.folder), Running)
        write_result(staging, synthetic_result(request), "")
    assert isinstance(read_state(request.folder), Done)
    with pytest.raises(ValueError, match="x"), staged(wanted[1].request.folder):
        raise ValueError("x")
    assert not isinstance(
        read_state(wanted[1].request.folder), Failed
    )  # the sweep alone records failures


@pytest.mark.slow
def test_two_columns_of_one_task_share_their_runs(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "backbones: tiny-bert\n"
        "seeds: 2\n"
        "rows: [{experiment: table1/snip}]\n"
        "columns:\n"
        "  - {task: demo_mrpc, metric: accuracy}\n"
        "  - {name: f1, task: demo_mrpc, metric: f1}\n"
    )
    done: list[RunRequest] = []

    def execute(request: RunRequest) -> None:
        done.append(request)
        record(request)

    table = load_table(str(file), [f"outputs={tmp_path}"])
    run_cells(list_cells(table), execute, tell=silent)
    assert [request.spec.seed for request in done] == [1, 2]
    assert len(list_cells(table)) == 4


FUSED = """\
backbones: tiny-bert
seeds: 2
rows:
  - {experiment: table4/pfeiffer}
  - {experiment: table4/fusion, sources: pfeiffer}
columns:
  - {task: demo_mrpc, metric: accuracy}
  - {task: demo_cola, metric: matthews_correlation}
"""


@pytest.mark.slow
def test_a_fusion_waits_for_its_sources_and_starts_from_those_of_its_seed(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FUSED)
    table = load_table(str(tmp_path / "mine.yaml"), [f"outputs={tmp_path}"])
    assert count_states(list_cells(table)) == {"missing": 4, "waiting": 4}
    only = load_table(str(tmp_path / "mine.yaml"), [f"outputs={tmp_path}", "only=row=fusion"])
    assert list_cells(only) == list_cells(table)  # a fusion alone would wait for ever
    run_cells(list_cells(table), record, tell=silent)
    assert count_states(list_cells(table)) == {"done": 4, "missing": 4}
    for cell in list_cells(table):
        sources = list_sources(cell.spec)
        assert len(sources) == 2 * (cell.row == "fusion")
        assert all(f"seed{cell.seed}_" in source for source in sources)
