from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import pytest

from sparsead.errors import AlreadyRecordedError, RecordError
from sparsead.runs.index import read_summaries
from sparsead.runs.record import RunRecord, read_records, write_result
from sparsead.runs.result import name_of
from sparsead.runs.staging import staged
from sparsead.runs.states import Failed, read_state
from synthetic import plain_result, write_record

RESULT = plain_result()


def test_a_record_is_there_complete_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "runs" / name_of(RESULT)
    with staged(folder) as staging:
        write_result(staging, RESULT, "seed: 1\n")
        assert not folder.exists()
        assert list(read_records(tmp_path / "outputs")) == []
    assert [record.main_score for record in read_records(tmp_path / "outputs")] == [0.5]
    assert [path.name for path in folder.parent.iterdir()] == [name_of(RESULT)]


def interrupted(folder: Path, error: type[BaseException]) -> None:
    with staged(folder) as staging:
        (staging / "half").write_text("written")
        raise error


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        interrupted(tmp_path / "a" / "runs" / "one", RuntimeError)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_is_found_again_and_is_no_record(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    with pytest.raises(KeyboardInterrupt):
        interrupted(folder, KeyboardInterrupt)
    assert list(read_records(tmp_path)) == []
    with staged(folder) as staging:
        assert (staging / "half").read_text() == "written"
    assert sorted(path.name for path in folder.iterdir()) == ["half"]


def test_an_error_keeps_what_an_interrupted_run_left(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    with pytest.raises(KeyboardInterrupt):
        interrupted(folder, KeyboardInterrupt)
    with pytest.raises(RuntimeError):
        interrupted(folder, RuntimeError)
    with staged(folder) as staging:
        assert (staging / "half").exists()


def test_a_replacement_cut_short_is_mended(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    for score in (0.5, 0.6):
        with staged(folder, replace=True) as staging:
            write_result(staging, RESULT | {"scores": {"accuracy": score}}, "")
        folder.rename(folder.with_name(".replaced-one"))
    with staged(folder, replace=True) as staging:
        assert RunRecord.read(folder).main_score == 0.6
        write_result(staging, RESULT, "")
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_a_run_that_another_process_finished_is_not_done_again(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    with staged(folder) as staging:
        write_result(staging, RESULT, "")
    with pytest.raises(AlreadyRecordedError), staged(folder):
        pass
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_a_diverged_run_is_recorded_with_null(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    with staged(folder) as staging:
        write_result(staging, RESULT | {"scores": {"pearson": float("nan")}}, "")
    assert RunRecord.read(folder).result["scores"] == {"pearson": None}
    assert math.isnan(RunRecord.read(folder).main_score)


def test_two_processes_are_not_at_one_run_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    with staged(folder), pytest.raises(RecordError, match="another process"), staged(folder):
        pass
    assert folder.is_dir()


def test_a_failed_rerun_keeps_the_old_record(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    for score in (0.5, 0.6):
        with staged(folder, replace=True) as staging:
            write_result(staging, RESULT | {"scores": {"accuracy": score}}, "")
    with pytest.raises(RuntimeError), staged(folder, replace=True):
        raise RuntimeError
    assert RunRecord.read(folder).main_score == 0.6
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_the_folder_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with staged(tmp_path / "runs" / "one"):
        pass
    assert (tmp_path / "runs" / "one").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with (
        pytest.raises(RecordError, match="cannot be written"),
        staged(tmp_path / "o" / "runs" / "x"),
    ):
        pass


def test_an_outputs_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")
    folder = tmp_path / "outputs" / "runs" / "one"
    with pytest.raises(RecordError, match="cannot be written"), staged(folder):
        pass


def test_what_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(RecordError, match="is not a run"):
        RunRecord.read(tmp_path)


@pytest.mark.parametrize(
    ("learned", "message"),
    [
        ({"metrics": ["a.b"]}, r"from_data\.metrics: no such key \(allowed: labels\)"),
        ({"labels": ["a", 5]}, r"from_data\.labels\.1=5: must be a valid string"),
        ({"labels": "a"}, r"from_data\.labels='a': must be a valid list"),
    ],
)
def test_a_record_has_only_options_that_its_task_learns_from_data(
    tmp_path: Path, learned: dict[str, object], message: str
) -> None:
    with pytest.raises(RecordError, match=message) as raised:
        RunRecord.read(write_record(tmp_path, RESULT | {"from_data": learned}))
    assert "\n" not in str(raised.value)


def test_a_copied_or_foreign_folder_is_not_another_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (write_record(tmp_path, plain_result(seed=seed)) for seed in (1, 2))
    shutil.copytree(one, one.with_name(f"{one.name}_twice"))
    shutil.copytree(one, one.with_name(f"copy_of_{one.name}"))
    shutil.copy(one / "result.json", two / "result.json")
    for read in (read_records, read_summaries, read_summaries):
        assert [record.folder for record in read(tmp_path)] == [one]
    said = capsys.readouterr().err
    assert said.count("holds the run") == 1
    assert said.count("holds another run") == 2
    with pytest.raises(RecordError, match="holds another run"):
        RunRecord.read(two)


def test_a_damaged_record_is_named_once_and_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (write_record(tmp_path, plain_result(seed=seed)) for seed in (1, 2))
    (two / "result.json").write_text("{}")
    for read in (read_records, read_summaries, read_records):
        assert [record.folder for record in read(tmp_path)] == [one]
    assert capsys.readouterr().err.count(f"{two.name}/result.json: is not the result") == 1
    state = read_state(two)
    assert isinstance(state, Failed)
    assert "no 'scores'" in state.failure["error"]
