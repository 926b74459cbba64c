from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from composing import ask_for
from sparsead.commands import runs
from sparsead.errors import ConfigError, RecordError
from sparsead.runs.failure import record_failure
from sparsead.runs.listing import COLUMNS
from sparsead.runs.predictions import write_predictions
from sparsead.runs.record import write_result
from sparsead.runs.staging import staged
from sparsead.runs.unfinished import note_started
from synthetic import plain_result, synthetic_result, write_record


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for pruner in ("snip", "random"):
        for seed in (1, 2):
            request = ask_for(f"outputs={tmp_path}", f"pruner={pruner}", f"seed={seed}")
            with staged(request.folder) as staging:
                write_result(staging, synthetic_result(request), "")
    failed = ask_for(f"outputs={tmp_path}", "pruner=grasp", "task=rte")
    failed.record_failure(ValueError("no"))
    return tmp_path


def called(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> str:
    monkeypatch.setattr("sys.argv", ["sparsead runs", *words, "--outputs", str(outputs)])
    runs.main()
    return str(capsys.readouterr().out)


def test_filters_choose_what_is_listed(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for filters, count in (
        ((), 5),
        (("pruner=snip",), 2),
        (("pruner=snip,random", "seed=2"), 2),
        (("task=rte",), 1),
        (("state=failed",), 1),
        (("state=f*",), 1),
        (("sparsity=40", "adapter=h*"), 5),
        (("sparsity=0.4",), 5),
        (("sparsity=4*",), 5),
        (("sparsity=0.5",), 0),
        (("seed=[12]", "state=done"), 4),
        (("seed=?", "pruner=snip"), 2),
        (("seed=2.0",), 2),
        (("protocol.learning_rate=0.0001", "r=64"), 0),
        (("pruner.scope=gl*", "adapter.bottleneck=64"), 5),
        (("protocol.selection=0", "task.limit=null"), 5),
        (("task=cola",), 0),
        (("score=null",), 1),
    ):
        listed = called(outputs, monkeypatch, capsys, "list", *filters, "--format", "json")
        assert len(json.loads(listed)) == count, filters
    assert len(called(outputs, monkeypatch, capsys, "pruner=snip").splitlines()) == 3


def test_runs_on_a_file_of_ones_own_are_found_by_its_name_and_by_task_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "grades.csv"
    file.write_text("text,label\na,x\nb,y\n")
    words = ["task=text", f"task.train={file}", "task.validation_share=0.5", "task.inputs=[text]"]
    request = ask_for(f"outputs={tmp_path}", *words)
    with staged(request.folder) as staging:
        write_result(staging, synthetic_result(request), "")
    for wanted in ("task=text", "task=grades"):
        assert request.identity[:8] in called(tmp_path, monkeypatch, capsys, wanted)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("prunner=snip", "filter=prunner: no such choice; did you mean pruner?"),
        ("stat=failed", "filter=stat: no such choice; did you mean state?"),
        ("state=fail", "state=fail: no such choice; did you mean failed? (allowed: done, failed, "),
        ("state=done,x*", "state=x*: no such choice (allowed: done, failed, interrupted, running)"),
        ("seed=[1,2]", "seed=[1,2]: give several values as seed=1,2, without brackets"),
        ("seed=[1", "seed=[1: give several values as seed=1,2, without brackets"),
        ("seed=one", "seed=one: must be a seed, or a pattern such as [12] or *"),
        ("score=high", "score=high: must be a number, or a pattern such as 4*"),
        ("sparsity=half", "sparsity=half: must be a number, or a pattern such as 4*"),
        ("score=nan", "score=nan: must be a number, or a pattern such as 4*"),
        ("sparsity=inf", "sparsity=inf: must be a number, or a pattern such as 4*"),
        ("seed=1_0", "seed=1_0: must be a seed, or a pattern such as [12] or *"),
        ("metric=acuracy", "metric=acuracy: no such choice; did you mean accuracy?"),
        ("task=mrpc,mrcp", "task=mrcp: no such choice; did you mean mrpc?"),
        ("lst", "runs=lst: no such choice; did you mean list?"),
    ],
)
def test_an_unknown_filter_is_named_also_where_there_are_no_runs(
    word: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        called(tmp_path, monkeypatch, capsys, word)


def test_csv_of_no_runs_has_a_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = called(tmp_path, monkeypatch, capsys, "--format", "csv")
    assert out == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_an_export_of_no_runs_is_refused_and_replaces_no_earlier_one(
    suffix: str, outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export = outputs / f"runs.{suffix}"
    called(outputs, monkeypatch, capsys, "export", str(export))
    full = export.read_bytes()
    with pytest.raises(RecordError, match="has no such runs to export"):
        called(outputs, monkeypatch, capsys, "export", str(export), "task=cola")
    assert export.read_bytes() == full


@pytest.mark.parametrize(
    ("filters", "said"), [([], "no runs yet; "), (["seed=9"], "no runs match these filters")]
)
def test_a_terminal_is_told_that_there_are_no_runs(
    filters: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(runs, "screen_width", lambda: 80)
    monkeypatch.setattr("sys.argv", ["sparsead runs", *filters, "--outputs", str(tmp_path)])
    runs.main()
    assert said in capsys.readouterr().out


def test_deleting_asks_and_spares_the_others(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="would delete 3 runs; confirm with --yes"):
        called(outputs, monkeypatch, capsys, "delete", "pruner=snip,grasp")
    assert capsys.readouterr().out.count("_snip_") == 2  # the runs are shown first
    called(outputs, monkeypatch, capsys, "delete", "pruner=snip,grasp", "--yes")
    left = json.loads(called(outputs, monkeypatch, capsys, "list", "--format", "json"))
    assert {row["pruner"] for row in left} == {"random"}
    assert len(list((outputs / "runs").iterdir())) == 2


def test_no_answer_deletes_nothing(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))  # as after Ctrl-D
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    said = called(outputs, monkeypatch, capsys, "delete", "state=failed")
    assert said.endswith("delete 1 run? [y/N] \nnothing deleted\n")
    assert len(list((outputs / "runs").iterdir())) == 5


@pytest.mark.parametrize("words", [(), ("--yes",), ("--yes", "--permanently")])
def test_without_a_filter_nothing_is_deleted(
    outputs: Path,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted((outputs / "runs").rglob("*"))
    with pytest.raises(ConfigError, match=r"would delete all 5 runs; give a filter .* or --all"):
        called(outputs, monkeypatch, capsys, "delete", *words)
    assert sorted((outputs / "runs").rglob("*")) == before


def test_deleted_runs_can_be_restored(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed(*words: str) -> str:
        return called(outputs, monkeypatch, capsys, *words, "--format", "json")

    before = listed()
    said = called(outputs, monkeypatch, capsys, "delete", "--all", "--yes")
    assert f"moved 5 runs to {outputs / 'trash'}; `sparsead runs restore --outputs" in said
    assert json.loads(listed()) == []
    assert "restored 2 runs" in called(outputs, monkeypatch, capsys, "restore", "pruner=random")
    assert len(json.loads(listed())) == 2
    (again,) = [p for p in (outputs / "trash" / "runs").iterdir() if "snip_0.4_seed1" in p.name]
    shutil.copytree(again, outputs / "runs" / again.name)  # as if it had been trained anew
    said = called(outputs, monkeypatch, capsys, "restore")
    assert "restored 2 runs\nleft 1 run in" in said
    assert listed() == before
    called(outputs, monkeypatch, capsys, "delete", "state=done", "--yes", "--permanently")
    assert [row["state"] for row in json.loads(listed())] == ["failed"]
    assert [path.name for path in (outputs / "trash" / "runs").iterdir()] == [again.name]


def test_a_list_of_failed_runs_says_why_each_failed_and_where_its_traceback_is(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (failure,) = (outputs / "runs").glob("failed-*.json")
    said = called(outputs, monkeypatch, capsys, "state=failed").splitlines()[-1]
    assert said.endswith(f": ValueError: no; traceback in {failure}")
    assert "ValueError" not in called(outputs, monkeypatch, capsys)


def test_a_failure_that_is_newer_than_a_deleted_one_is_kept(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (failure,) = (outputs / "runs").glob("failed-*.json")
    called(outputs, monkeypatch, capsys, "delete", "state=failed", "--yes")
    newer = (outputs / "trash" / "runs" / failure.name).read_text()
    failure.write_text(newer + " ")
    assert "left 1 run in" in called(outputs, monkeypatch, capsys, "restore", "state=failed")
    assert failure.read_text() == newer + " "


def test_an_archive_is_not_replaced_by_one_that_lacks_its_runs(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = outputs / "a.parquet"
    assert "5 runs, 1 of them failed" in called(outputs, monkeypatch, capsys, "pack", str(file))
    before = file.read_bytes()
    with pytest.raises(RecordError, match="has 3 runs that would be lost, such as"):
        called(outputs, monkeypatch, capsys, "pack", str(file), "pruner=snip")
    assert file.read_bytes() == before
    called(outputs, monkeypatch, capsys, "pack", str(file))
    assert file.read_bytes() == before
    elsewhere = outputs.with_name("elsewhere")
    elsewhere.mkdir()
    said = called(elsewhere, monkeypatch, capsys, "unpack", str(file))
    assert said.endswith("4 runs added; 1 that failed elsewhere may be tried here\n")
    file.write_text("other")
    with pytest.raises(RecordError, match="exists and is no archive"):
        called(outputs, monkeypatch, capsys, "pack", str(file))


@pytest.mark.parametrize(
    ("part", "lost"), [("result.json", "2 files"), ("predictions-validation.parquet", "1 file")]
)
def test_an_archive_is_not_replaced_by_one_that_lacks_a_result_or_predictions_of_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
    lost: str,
) -> None:
    result = plain_result()
    predicted = [{"id": 1, "prediction": 2.0}]
    described = write_predictions(tmp_path, "validation", predicted, str(result["identity"]))
    folder = write_record(tmp_path, result | {"predictions": {"validation": described}})
    (tmp_path / "predictions-validation.parquet").rename(folder / "predictions-validation.parquet")
    file = tmp_path / "a.parquet"
    assert "1 run\n" in called(tmp_path, monkeypatch, capsys, "pack", str(file))
    before = file.read_bytes()
    (folder / part).unlink()
    if part == "result.json":  # the run was deleted, and failed when it was trained again
        shutil.rmtree(folder)
        record_failure(
            folder, ValueError("no"), identity=result["identity"], config=result["config"]
        )
    with pytest.raises(RecordError, match=f"{lost} that would be lost, .*such as {folder.name}/"):
        called(tmp_path, monkeypatch, capsys, "pack", str(file))
    assert file.read_bytes() == before


def test_a_damaged_record_is_said_once_to_be_replaced_by_an_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = write_record(tmp_path, plain_result()) / "result.json"
    file = tmp_path / "a.parquet"
    called(tmp_path, monkeypatch, capsys, "pack", str(file))
    result.write_text("{}")
    monkeypatch.setattr(
        "sys.argv", ["sparsead runs", "unpack", str(file), "--outputs", str(tmp_path)]
    )
    runs.main()
    said = capsys.readouterr()
    assert said.out == f"{tmp_path}: 1 run added\n"
    (line,) = said.err.splitlines()
    assert "has replaced it" in line
    result.parent.parent.rename(tmp_path / "elsewhere")
    (tmp_path / "runs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="runs: is a link"):
        runs.main()


def test_running_and_interrupted_runs_are_listed_and_a_running_one_is_not_deleted(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def states(*words: str) -> list[str]:
        listed = called(outputs, monkeypatch, capsys, *words, "--format", "json")
        return [row["state"] for row in json.loads(listed)]

    stopped, trained = (ask_for(f"outputs={outputs}", "pruner=er", f"seed={s}") for s in (1, 2))
    with contextlib.suppress(KeyboardInterrupt), staged(stopped.folder) as staging:
        note_started(staging, stopped.identity, stopped.spec.to_dict())
        raise KeyboardInterrupt
    with staged(trained.folder) as staging:
        note_started(staging, trained.identity, trained.spec.to_dict())
        assert states("pruner=er") == ["running", "interrupted"]
        assert states("state=interrupted", "seed=1", "sparsity=0.4") == ["interrupted"]
        said = called(outputs, monkeypatch, capsys, "delete", "pruner=er", "--yes")
        assert said.startswith("left out 1 run that a process is training\n")
        assert "moved 1 run to" in said
        assert states("pruner=er") == ["running"]
        called(outputs, monkeypatch, capsys, "restore")
        assert states("pruner=er") == ["running", "interrupted"]
        write_result(staging, synthetic_result(trained), "")
    assert states("pruner=er") == ["done", "interrupted"]
    (left,) = (outputs / "runs").glob(f".partial-{stopped.folder.name}.*")
    (left / "started.json").write_text('{"identity": 3}')
    assert states("pruner=er") == ["done"]


def test_every_export_says_the_same(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in ("parquet", "csv", "json"):
        called(outputs, monkeypatch, capsys, "export", str(outputs / f"runs.{suffix}"))
    columns = parquet.read_table(outputs / "runs.parquet").to_pylist()
    assert columns == json.loads((outputs / "runs.json").read_text())
    with (outputs / "runs.csv").open() as stream:
        assert [row["run"] for row in csv.DictReader(stream)] == [row["run"] for row in columns]
    assert next(row for row in columns if row["state"] == "failed")["score"] is None


def test_an_export_replaces_an_earlier_export_and_no_other_file(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = pyarrow.table({"text": ["a"], "label": [1]})
    for suffix in ("parquet", "csv", "json"):
        export = outputs / f"runs.{suffix}"
        called(outputs, monkeypatch, capsys, "export", str(export), "seed=1")
        few = export.read_bytes()
        called(outputs, monkeypatch, capsys, "export", str(export))
        assert export.read_bytes() != few
        parquet.write_table(mine, export) if suffix == "parquet" else export.write_text("text,l\n")
        kept = export.read_bytes()
        with pytest.raises(RecordError, match="exists, and this command did not write it"):
            called(outputs, monkeypatch, capsys, "export", str(export))
        assert export.read_bytes() == kept


def test_an_export_tells_runs_apart_and_has_every_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for changes in (("protocol.epochs=1",), ("protocol.epochs=2", "protocol.betas=[0.9,0.99]")):
        request = ask_for(f"outputs={tmp_path}", *changes)
        with staged(request.folder) as staging:
            write_result(staging, synthetic_result(request), "")
    called(tmp_path, monkeypatch, capsys, "export", str(tmp_path / "runs.json"))
    rows = json.loads((tmp_path / "runs.json").read_text())
    assert sorted(row["protocol.epochs"] for row in rows) == [1, 2]
    assert {row["protocol.betas"] for row in rows} == {"[0.9, 0.98]", "[0.9, 0.99]"}
    for row in rows:
        assert row["score"] == round(row["accuracy"], 2)
        assert row["f1"] == row["accuracy"]
        assert row["history.epoch"] == [1, 2, 3, 4, 5]
        assert row["history.accuracy"] == [row["accuracy"]] * 5
    assert "protocol.learning_rate" not in rows[0]  # the runs do not differ in it


def test_runs_with_separate_seeds_are_exported_to_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for changes in ((), ("seed_data=1", "seed_init=2", "seed_mask=3")):
        request = ask_for(f"outputs={tmp_path}", *changes)
        with staged(request.folder) as staging:
            write_result(staging, synthetic_result(request), "")
    called(tmp_path, monkeypatch, capsys, "export", str(tmp_path / "runs.parquet"))
    rows = parquet.read_table(tmp_path / "runs.parquet").to_pylist()
    assert {row["seed"] for row in rows} == {"1", "1-2-3"}
