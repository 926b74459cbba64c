from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import yaml
from pyarrow import parquet

from composing import compose
from sparsead.commands import figure, reproduce, runs, table
from sparsead.errors import RecordError, StorageError
from sparsead.report.opened import open_results
from sparsead.runs.archive import ArchivedRuns, archives_kept_unpacked, unpack
from sparsead.runs.archive_adding import add_missing
from sparsead.runs.archive_writing import pack
from sparsead.runs.failure import record_failure
from sparsead.runs.listing import open_place
from sparsead.runs.predictions import write_predictions
from sparsead.runs.record import RunRecord, write_result
from sparsead.runs.result import name_of
from sparsead.runs.staging import staged
from sparsead.runs.states import Done, Failed, Missing
from sparsead.tables.cells import Cell, list_cells
from sparsead.tables.files import load_table
from synthetic import plain_result, synthetic_result, write_record
from watched_memory import watched_memory

TABLE = """\
backbones: tiny-bert
seeds: 2
baseline: pfeiffer
comparisons: [fusion]
average: true
rows:
  - {experiment: table4/pfeiffer}
  - {experiment: table4/s-pfeiffer}
  - {experiment: table4/fusion, sources: pfeiffer}
  - {experiment: table4/s-fusion, sources: s-pfeiffer}
columns:
  - {task: mrpc, metric: accuracy}
  - {task: rte, metric: accuracy}
overrides: [task.limit=4]
"""


def write(cell: Cell) -> None:
    rows = ("pfeiffer", "s-pfeiffer", "fusion", "s-fusion")
    accuracy = 0.5 + rows.index(cell.row) / 10 + cell.seed / 100 + len(cell.column) / 1000
    result = synthetic_result(cell.request) | {
        "scores": {"accuracy": accuracy},
        "history": [{"epoch": 1.0, "scores": {"accuracy": accuracy}}],
        "parameters": {"nominal": 0.02},
        "seconds": {"train": 1.0},
        "environment": {},
    }
    with staged(cell.request.folder) as staging:
        write_result(staging, result, "seed: 1\n")
        (staging / "adapter.safetensors").write_bytes(cell.request.identity.encode())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, glue_fixture: Path) -> Path:
    """A folder with a table, its data, and the records of its runs."""
    folder = tmp_path_factory.mktemp("recorded")
    shutil.copytree(glue_fixture, folder / "glue")
    (folder / "mine.yaml").write_text(TABLE)
    (folder / "outputs").mkdir()
    overrides = [f"outputs={folder / 'outputs'}", f"task.path={folder / 'glue'}"]
    for _ in ("the first stage", "the second stage"):
        for cell in list_cells(load_table(str(folder / "mine.yaml"), overrides)):
            if not cell.waits and not cell.request.folder.exists():
                write(cell)
    return folder


@pytest.fixture
def made(recorded: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A table whose runs are recorded, and its overrides."""
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    return tmp_path / "mine.yaml", [f"task.path={tmp_path / 'glue'}"]


def call(monkeypatch: pytest.MonkeyPatch, verb: object, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["sparsead", *map(str, arguments)])
    verb.main()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_table_from_an_archive_equals_the_one_from_the_runs_without_their_data(
    made: tuple[Path, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, overrides = made
    outputs = tmp_path / "outputs"
    where = ["--outputs", str(outputs), "--format", "json"]
    call(monkeypatch, table, str(file), *overrides, *where)
    from_runs = capsys.readouterr().out
    assert "missing" not in from_runs
    archive = tmp_path / "archive.parquet"
    call(monkeypatch, runs, "pack", str(archive), "--outputs", str(outputs))
    assert capsys.readouterr().out == f"{archive}: 16 runs\n"
    shutil.rmtree(outputs)
    shutil.rmtree(tmp_path / "glue")
    monkeypatch.chdir(tmp_path)
    outputs.mkdir()
    call(monkeypatch, table, str(file), "--records", str(archive), *where)
    assert capsys.readouterr().out == from_runs
    call(monkeypatch, figure, str(file), "--records", str(archive), *where[:2])
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert not (outputs / "runs").exists()


@pytest.mark.slow
def test_the_same_runs_are_packed_to_the_same_bytes_without_weights(
    made: tuple[Path, list[str]], tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    names = [folder.name for folder in (outputs / "runs").iterdir()]
    pack(outputs, names, tmp_path / "one.parquet")
    pack(outputs, reversed(names), tmp_path / "two.parquet")
    one, two = ((tmp_path / f"{name}.parquet").read_bytes() for name in ("one", "two"))
    assert one == two
    unpack(tmp_path / "one.parquet", tmp_path / "unpacked")
    files = {path.name for path in (tmp_path / "unpacked").rglob("*") if path.is_file()}
    assert files == {"result.json", "config.yaml"}


@pytest.mark.slow
def test_a_table_is_completed_from_an_archive(
    made: tuple[Path, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, overrides = made
    archive, mine = tmp_path / "archive.parquet", tmp_path / "mine"
    call(monkeypatch, runs, "pack", str(archive), "--outputs", str(tmp_path / "outputs"))
    record = min((tmp_path / "outputs" / "runs").iterdir())
    shutil.copytree(record, mine / "runs" / record.name)
    capsys.readouterr()
    for added in ("15 runs", "0 runs"):
        call(monkeypatch, runs, "unpack", str(archive), "--outputs", str(mine))
        assert capsys.readouterr().out == f"{mine}: {added} added\n"
    assert (mine / "runs" / record.name / "adapter.safetensors").exists()
    rows = "only=row=pfeiffer,s-pfeiffer"  # fusion starts from weights, which no archive has
    cells = list_cells(load_table(str(file), [f"outputs={mine}", rows, *overrides]))
    assert all(cell.request.folder.exists() for cell in cells)


def test_an_archive_with_a_malformed_record_is_refused(tmp_path: Path) -> None:
    table = pyarrow.table({"path": ["run/result.json"], "content": [b"{}"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(RecordError, match="is not the result of a run"):
        add_missing(tmp_path / "a.parquet", tmp_path / "outputs")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_a_run_is_found_by_its_configuration_alone(
    made: tuple[Path, list[str]], tmp_path: Path
) -> None:
    file, overrides = made
    outputs = tmp_path / "outputs"
    asked = load_table(str(file), [f"outputs={tmp_path / 'nothing'}"])  # the hub's data
    dense, other, fused = (
        next(c for c in list_cells(asked) if (c.row, c.column, c.seed) == wanted)
        for wanted in (("pfeiffer", "rte", 2), ("s-pfeiffer", "rte", 1), ("s-fusion", "rte", 1))
    )
    recorded = load_table(str(file), [f"outputs={outputs}", *overrides])
    (failed,) = (
        c.request
        for c in list_cells(recorded)
        if (c.row, c.column, c.seed) == (other.row, other.column, other.seed)
    )
    shutil.rmtree(failed.folder)
    record_failure(
        failed.folder, ValueError("why"), identity=failed.identity, config=failed.spec.to_dict()
    )
    archived = ArchivedRuns(outputs)
    found = archived.find(dense.spec)
    assert isinstance(found, Done)
    assert found.record.result["config"]["seed"] == 2
    assert isinstance(archived.find(other.spec), Failed)
    assert isinstance(archived.find(fused.spec), Missing)  # its sources are not named
    assert isinstance(archived.find(fused.spec, [n.spec for n in fused.needs]), Done)


def write_archive(file: Path, *rows: tuple[str | None, bytes]) -> Path:
    paths, content = zip(*rows, strict=True)
    table = pyarrow.table({"path": paths, "content": content})
    parquet.write_table(table, file, compression="zstd")
    return file


@pytest.mark.parametrize(
    "path",
    [
        *("../x/result.json", "/etc/passwd", "run/../../x", "run/.hidden", "", "a/b/c", "a\nb"),
        *("run/payload.py", "run/adapter.safetensors", "run", f"{300 * 'a'}/result.json", None),
        *(f"{200 * 'é'}/result.json", "failed-x.json/result.json", f"failed-{250 * 'a'}.json"),
    ],
)
def test_what_is_no_file_of_a_record_is_not_unpacked(tmp_path: Path, path: str | None) -> None:
    write_archive(tmp_path / "a.parquet", (path, b"x"), ("run/config.yaml", b"x"))
    with pytest.raises(RecordError, match="not the path of a file of a run"):
        unpack(tmp_path / "a.parquet", tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


def test_a_file_that_an_archive_has_twice_is_refused(tmp_path: Path) -> None:
    file = write_archive(tmp_path / "a.parquet", *2 * [("run/config.yaml", b"x")])
    with pytest.raises(RecordError, match=r"has 'run/config\.yaml' twice"):
        unpack(file, tmp_path / "unpacked")


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsead.runs.parquet_files.LEAST_LIMIT", 1000)
    file = write_archive(tmp_path / "a.parquet", ("run/config.yaml", bytes(10_000_000)))
    with pytest.raises(RecordError, match="too large for its size"):
        unpack(file, tmp_path / "unpacked")


def test_no_more_of_an_archive_is_decoded_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsead.runs.parquet_files.LEAST_LIMIT", 1 << 20)
    monkeypatch.setattr("sparsead.runs.parquet_files.BYTES_AT_ONCE", 1 << 18)
    content = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 200), [bytes(1 << 18)])
    paths = [f"run{number}/config.yaml" for number in range(200)]
    file = tmp_path / "a.parquet"
    table = pyarrow.table({"path": paths, "content": content})
    parquet.write_table(table, file, compression="zstd", store_schema=False)
    with watched_memory() as most, pytest.raises(RecordError, match="too large for its size"):
        unpack(file, tmp_path / "unpacked")
    assert most() < 1 << 22
    bomb = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 200), ["x" * (1 << 18)])
    table = pyarrow.table({"path": bomb, "content": [b""] * 200})
    parquet.write_table(table, file, compression="zstd", store_schema=False)
    folder = write_record(tmp_path / "there", plain_result())
    with watched_memory() as most, pytest.raises(RecordError, match="exists and is no archive"):
        pack(tmp_path / "there", [folder.name], file)
    assert most() < 1 << 22


def test_a_record_under_another_name_is_not_added(tmp_path: Path) -> None:
    folder = write_record(tmp_path / "there", plain_result())
    rows = [(f"mine/{path.name}", path.read_bytes()) for path in folder.iterdir()]
    with pytest.raises(RecordError, match=f"mine: holds the run {folder.name} under another name"):
        add_missing(write_archive(tmp_path / "a.parquet", *rows), tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_a_malformed_record_is_named_by_its_archive(tmp_path: Path) -> None:
    file = write_archive(tmp_path / "a.parquet", ("mine/result.json", b"[]"))
    said = f"^{file}: mine/result.json: "
    with pytest.raises(RecordError, match=said):
        add_missing(file, tmp_path / "here")
    with pytest.raises(RecordError, match=said), open_place(tmp_path, file) as place:
        RunRecord.read(place / "runs" / "mine")


def test_an_archive_is_unpacked_once_where_many_commands_read_it(tmp_path: Path) -> None:
    file, name = pack_one(tmp_path)
    with archives_kept_unpacked():
        with open_place(tmp_path, file) as place:
            assert (place / "runs" / name).is_dir()
        file.unlink()
        with open_place(tmp_path, file) as again:
            assert again == place
            assert (place / "runs" / name).is_dir()
    assert not place.exists()
    with pytest.raises(RecordError, match="is not a file"), open_place(tmp_path, file):
        pass


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"identity": 1}'])
def test_a_malformed_failure_is_named_by_its_archive(tmp_path: Path, content: bytes) -> None:
    file = write_archive(tmp_path / "a.parquet", ("failed-a-b.json", content))
    with pytest.raises(RecordError, match=r"a\.parquet: failed-a-b\.json: cannot be used"):
        add_missing(file, tmp_path / "outputs")


def test_a_malformed_failure_beside_the_record_of_its_run_is_refused(tmp_path: Path) -> None:
    folder = write_record(tmp_path / "there", plain_result())
    rows = [(f"{folder.name}/{path.name}", path.read_bytes()) for path in folder.iterdir()]
    failure = f"failed-{folder.name}.json"
    file = write_archive(tmp_path / "a.parquet", *rows, (failure, b"{"))
    with pytest.raises(RecordError, match=f"a.parquet: {failure}: cannot be used"):
        add_missing(file, tmp_path / "here")


def test_a_failure_under_another_runs_name_is_refused(tmp_path: Path) -> None:
    result = plain_result()
    failure = record_failure(
        tmp_path / name_of(result),
        ValueError("it broke"),
        identity=result["identity"],
        config=result["config"],
    )
    name = f"failed-{name_of(result | {'identity': 'f' * 16})}.json"
    file = write_archive(tmp_path / "a.parquet", (name, failure.read_bytes()))
    with pytest.raises(RecordError, match=f"{name}: cannot be used .*holds another run"):
        add_missing(file, tmp_path / "outputs")
    same = write_archive(tmp_path / "b.parquet", (failure.name, failure.read_bytes()))
    assert add_missing(same, tmp_path / "outputs") == (0, 1)


def test_a_malformed_failure_is_not_packed(tmp_path: Path) -> None:
    failure = tmp_path / "runs" / "failed-a.json"
    failure.parent.mkdir()
    failure.write_text("{")
    with pytest.raises(RecordError, match=r"failed-a\.json: cannot be used"):
        pack(tmp_path, ["a"], tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()


def test_predictions_that_are_not_those_of_the_record_are_not_added(tmp_path: Path) -> None:
    result = plain_result()
    described = write_predictions(
        tmp_path, "validation", [{"id": 1, "prediction": 2.0}], str(result["identity"])
    )
    result["predictions"] = {"validation": described}
    folder = write_record(tmp_path / "there", result)
    rows = [(f"{folder.name}/{path.name}", path.read_bytes()) for path in folder.iterdir()]
    kept = (f"{folder.name}/predictions-validation.parquet", b"")
    content = (tmp_path / "predictions-validation.parquet").read_bytes()
    whole = write_archive(tmp_path / "whole.parquet", *rows, (kept[0], content))
    altered = write_archive(tmp_path / "altered.parquet", *rows, (kept[0], content + b"x"))
    with pytest.raises(RecordError, match=r"altered\.parquet: .* does not have the SHA-256"):
        add_missing(altered, tmp_path / "here")
    assert not (tmp_path / "here").exists()
    assert add_missing(whole, tmp_path / "here") == (1, 0)


def pack_one(tmp_path: Path) -> tuple[Path, str]:
    folder = write_record(tmp_path / "there", plain_result())
    pack(tmp_path / "there", [folder.name], tmp_path / "a.parquet")
    return tmp_path / "a.parquet", folder.name


def test_nothing_of_an_interrupted_run_becomes_a_part_of_an_added_record(tmp_path: Path) -> None:
    file, name = pack_one(tmp_path)
    here = tmp_path / "here" / "runs" / name
    with suppress(KeyboardInterrupt), staged(here) as staging:
        (staging / "checkpoint-1").mkdir()
        (staging / "adapter.safetensors").write_bytes(b"of the interrupted run")
        raise KeyboardInterrupt
    assert add_missing(file, tmp_path / "here") == (1, 0)
    assert sorted(path.name for path in here.iterdir()) == ["config.yaml", "result.json"]


def test_a_run_that_is_being_trained_is_left_out_of_those_that_are_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, name = pack_one(tmp_path)
    here = tmp_path / "here" / "runs" / name
    with staged(here) as staging:
        (staging / "checkpoint-1").mkdir()
        assert add_missing(file, tmp_path / "here") == (0, 0)
        assert (staging / "checkpoint-1").is_dir()
    said = capsys.readouterr().err
    assert said.startswith(f"sparsead: {here}: another process is working on this run")
    assert said.endswith("; it is left out\n")


def test_a_record_that_is_damaged_here_is_replaced_by_the_archives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, name = pack_one(tmp_path)
    here = tmp_path / "here" / "runs" / name
    assert add_missing(file, tmp_path / "here") == (1, 0)
    whole = (here / "result.json").read_bytes()
    (here / "adapter.safetensors").write_bytes(b"of the damaged record")
    for damaged in (b"{}", None):
        (here / "result.json").unlink()
        if damaged is not None:
            (here / "result.json").write_bytes(damaged)
        assert add_missing(file, tmp_path / "here") == (1, 0)
        assert (here / "result.json").read_bytes() == whole
        assert sorted(path.name for path in here.iterdir()) == ["config.yaml", "result.json"]
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith(f"sparsead: {here}")
        assert said.endswith("; the archive's record, which is whole, has replaced it")
    assert [path.name for path in here.parent.iterdir()] == [name]


def test_a_readable_record_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, name = pack_one(tmp_path)
    result = tmp_path / "here" / "runs" / name / "result.json"
    own = plain_result()
    write_record(tmp_path / "here", own | {"scores": {"accuracy": 0.75}})
    before = result.read_bytes()
    assert add_missing(file, tmp_path / "here") == (0, 0)
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == result:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        add_missing(file, tmp_path / "here")
    monkeypatch.undo()
    assert result.read_bytes() == before
    assert capsys.readouterr().err == ""


def test_an_archive_that_a_full_disk_cannot_take_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = pack_one(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match=r"a\.parquet: .* temporary files .*No space.*TMPDIR="):
        add_missing(file, tmp_path / "here")


def test_the_configuration_that_a_person_reads_is_that_of_the_record(tmp_path: Path) -> None:
    folder = write_record(tmp_path / "there", plain_result())
    (folder / "config.yaml").write_text("seed: 99\n")
    pack(tmp_path / "there", [folder.name], tmp_path / "a.parquet")
    assert add_missing(tmp_path / "a.parquet", tmp_path / "here") == (1, 0)
    written = yaml.safe_load((tmp_path / "here" / "runs" / folder.name / "config.yaml").read_text())
    assert written == RunRecord.read(folder).result["config"]


def test_predictions_that_the_record_does_not_name_are_neither_added_nor_packed(
    tmp_path: Path,
) -> None:
    folder = write_record(tmp_path / "there", plain_result())
    rows = [(f"{folder.name}/{path.name}", path.read_bytes()) for path in folder.iterdir()]
    stray = "predictions-evil.parquet"
    file = write_archive(tmp_path / "a.parquet", *rows, (f"{folder.name}/{stray}", b"junk"))
    with pytest.raises(RecordError, match=rf"a\.parquet: .*{stray}: its record, .* not name it"):
        add_missing(file, tmp_path / "here")
    assert not (tmp_path / "here").exists()
    (folder / stray).write_bytes(b"junk")
    with pytest.raises(RecordError, match=f"{stray}: its record, .* does not name it; delete it"):
        pack(tmp_path / "there", [folder.name], tmp_path / "b.parquet")
    assert not (tmp_path / "b.parquet").exists()


def test_what_a_record_links_to_is_not_packed(tmp_path: Path) -> None:
    folder = write_record(tmp_path, plain_result())
    (tmp_path / "secret").write_text("s3cret")
    for name in ("config.yaml", "predictions-test.parquet"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(tmp_path / "secret")
    (folder / "notes.txt").write_text("of somebody else")
    pack(tmp_path, [folder.name], tmp_path / "a.parquet")
    (packed,) = parquet.read_table(tmp_path / "a.parquet")["path"].to_pylist()
    assert packed == f"{folder.name}/result.json"


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1PAR1"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(RecordError, match="is not an archive of records"):
        unpack(tmp_path / "a.parquet", tmp_path / "unpacked")


@pytest.mark.parametrize(
    "columns",
    [
        *({"score": [1]}, {"content": ["x"]}, {"content": [None]}, {"path": [b"a/b"]}),
        {
            "path": pyarrow.array([], "string"),
            "content": pyarrow.array([], pyarrow.binary(1 << 30)),
        },
    ],
)
def test_a_parquet_file_of_other_columns_is_no_archive(
    tmp_path: Path, columns: dict[str, Any]
) -> None:
    parquet.write_table(pyarrow.table({"path": ["a/b"], **columns}), tmp_path / "a.parquet")
    with pytest.raises(RecordError, match="is not an archive of records"):
        unpack(tmp_path / "a.parquet", tmp_path / "unpacked")


def test_a_missing_archive_is_refused_without_a_table_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecordError, match=r"a\.parquet: is not a file"):
        call(monkeypatch, table, "--records", "a.parquet", "--outputs", str(tmp_path))


def test_runs_that_start_from_each_other_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose("adapter=fusion").to_dict()
    one, two = (
        plain_result(seed=seed, sparsity=0.0, config=config | {"seed": seed}) for seed in (1, 2)
    )
    for run, source in ((one, two), (two, one)):
        options = {"fusion": {"sources": [f"elsewhere/{name_of(source)}"]}}
        adapter = run["config"]["adapter"] | {"options": options}
        write_record(tmp_path, run | {"config": run["config"] | {"adapter": adapter}})
    archived = ArchivedRuns(tmp_path)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all(line.endswith("which starts from it); it is left out") for line in said)
    assert isinstance(archived.find(compose("adapter=fusion")), Missing)


def start_from(source: str, option: object = None) -> dict[str, Any]:
    """Return the result of a run that starts from another one, or has this option of sources."""
    config = compose("adapter=fusion").to_dict()
    options = {"fusion": option or {"sources": [f"elsewhere/{source}"]}}
    config["adapter"] |= {"options": options}
    return plain_result(sparsity=0.0, adapter="fusion", config=config)


def test_a_run_that_lacks_its_source_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = compose("adapter=lora")
    whole = plain_result(sparsity=spec.sparsity, config=spec.to_dict())
    source = plain_result(adapter="pfeiffer")
    second = write_record(tmp_path, start_from(name_of(source)))
    for result in (whole, source):
        write_record(tmp_path, result)
    file = str(tmp_path / "a.parquet")
    where = ("--outputs", str(tmp_path))
    call(monkeypatch, runs, "pack", file, "adapter=lora,fusion", *where)
    printed = capsys.readouterr()
    assert printed.out == f"{file}: 2 runs\n"
    assert f"{file}: lacks 1 source of its runs: {name_of(source)}; " in printed.err
    unpack(Path(file), tmp_path / "unpacked")
    found = ArchivedRuns(tmp_path / "unpacked").find(spec)
    assert isinstance(found, Done)
    said = f"{second.name}: its source {name_of(source)} is not in the archive; it is left out\n"
    assert capsys.readouterr().err == f"sparsead: {said}"
    call(monkeypatch, runs, "pack", file, *where)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("option", [["a"], "a", {"sources": 1}])
def test_a_run_of_which_the_sources_cannot_be_read_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: object
) -> None:
    folder = write_record(tmp_path, start_from("", option))
    ArchivedRuns(tmp_path)
    said = capsys.readouterr().err
    assert said.startswith(f"sparsead: {folder.name}: its configuration cannot be read (")
    assert said.endswith("; it is left out\n")
    assert pack(tmp_path, [folder.name], tmp_path / "a.parquet") == []


def test_runs_on_other_data_are_no_seeds_of_one_row(tmp_path: Path, glue_fixture: Path) -> None:
    file, outputs, archive = (tmp_path / name for name in ("mine.yaml", "outputs", "a.parquet"))
    file.write_text(TABLE)
    for seed in (1, 2):
        data = tmp_path / str(seed)
        shutil.copytree(glue_fixture, data)
        with (data / "MRPC" / "train.tsv").open("a") as stream:
            stream.write(seed * "1\t1\t2\tOne more.\tOne more.\n")
        words = [f"outputs={outputs}", f"task.path={data}", "only=row=pfeiffer", "only=column=mrpc"]
        write(list_cells(load_table(str(file), words))[seed - 1])
    pack(outputs, [folder.name for folder in (outputs / "runs").iterdir()], archive)
    words = ["only=row=pfeiffer", "only=column=mrpc"]
    with (
        pytest.raises(RecordError, match="pfeiffer in mrpc has runs with different data"),
        open_results(str(file), words, outputs, archive),
    ):
        pass


@pytest.mark.slow
def test_sources_without_their_weights_stop_only_the_rows_that_start_from_them(
    made: tuple[Path, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, overrides = made
    archive, outputs = tmp_path / "a.parquet", tmp_path / "unpacked"
    outputs.mkdir()
    pack(tmp_path / "outputs", [p.name for p in (tmp_path / "outputs" / "runs").iterdir()], archive)
    call(monkeypatch, runs, "unpack", str(archive), "--outputs", str(outputs))
    capsys.readouterr()
    words = [*overrides, f"outputs={outputs}"]
    cells = list_cells(load_table(str(file), words))
    assert {cell.row for cell in cells if cell.waits} == {"fusion", "s-fusion"}
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, reproduce, str(file), *words)
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    assert "16 runs: 8 done, 0 failed, 0 running, 0 to run, 8 waiting" in printed.out
    assert "not trained: 8 runs, because the weights of what they start from are not" in printed.err
    assert printed.err.count("`sparsead runs delete run=") == 1
