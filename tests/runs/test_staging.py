"""Two processes that come to share a run, and processes killed at any step of recording one."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

import killed_recorder
from composing import ask_for
from exhaustive import EXHAUSTIVE
from forked import Worker
from sparsead.errors import (
    AlreadyRecordedError,
    ClaimedError,
    SourceError,
    StorageError,
    TakenOverError,
)
from sparsead.runs import identity
from sparsead.runs.deletion import delete_permanently, move_to_trash, restore_from_trash
from sparsead.runs.index import read_summaries
from sparsead.runs.query import find_run
from sparsead.runs.record import find_record, read_records, write_result
from sparsead.runs.result import name_of
from sparsead.runs.staging import check_owned, discard, list_unfinished, staged
from synthetic import plain_result, synthetic_result

RESULT = plain_result()
NAME = name_of(RESULT)

Act = Callable[[Path], object]


def work(folder: Path, *acts: Act, replace: bool = False) -> None:
    """Work on a run: do one act after the other with its staging folder, and record it."""
    with staged(folder, replace=replace) as staging:
        for act in acts:
            act(staging)


def write(score: float) -> Act:
    return lambda staging: write_result(staging, RESULT | {"scores": {"accuracy": score}}, "")


def fail(error: BaseException) -> Act:
    def act(_: Path) -> None:
        raise error

    return act


def score_in(folder: Path) -> float:
    record = find_record(folder)
    assert record is not None
    return record.main_score


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "runs" / NAME


def lose_claim(staging: Path) -> None:
    shutil.rmtree(staging.with_name(".claims"))


def save_checkpoint(staging: Path) -> None:
    (staging / "checkpoint-1").mkdir(parents=True)
    (staging / "checkpoint-1" / "weights").write_text("trained for hours")


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def end_run(staging: Path) -> None:
    """Do what a run does at its end: write the result, and remove the checkpoints."""
    write(0.1)(staging)
    shutil.rmtree(staging / "checkpoint-1")


def save_and_check(staging: Path) -> None:
    save_checkpoint(staging)
    check_owned(staging)


@pytest.mark.slow
@pytest.mark.parametrize("act", [end_run, save_and_check, check_owned, lambda _: None])
@pytest.mark.parametrize("ends_last", [True, False])
def test_who_loses_a_run_stops_and_touches_nothing_of_the_winner(
    folder: Path, act: Act, ends_last: bool
) -> None:
    def win(lost: Path) -> None:
        with staged(folder) as won:
            assert won != lost
            assert not lost.exists()
            assert (won / "checkpoint-1" / "weights").read_text() == "trained for hours"
            before = content(won)
            if not ends_last:
                with suppress(FileNotFoundError, TakenOverError):
                    act(lost)
            assert content(won) == before
            write(0.9)(won)
            shutil.rmtree(won / "checkpoint-1")

    with pytest.raises((TakenOverError, AlreadyRecordedError), match="another process has"):
        work(folder, save_checkpoint, lose_claim, win, act)
    assert score_in(folder) == 0.9
    assert [path.name for path in folder.parent.iterdir()] == [NAME]


def test_who_loses_a_rerun_puts_nothing_in_the_place_of_the_winners_record(folder: Path) -> None:
    work(folder, write(0.5))

    def win(_: Path) -> None:
        work(folder, write(0.9), replace=True)

    with pytest.raises(TakenOverError):
        work(folder, lose_claim, win, write(0.1), replace=True)
    assert score_in(folder) == 0.9
    assert [path.name for path in folder.parent.iterdir()] == [NAME]


def test_a_file_that_the_loser_holds_open_is_not_the_winners(folder: Path) -> None:
    def share(lost: Path) -> None:
        with (lost / "predictions").open("w") as stream:
            stream.write("1\n")
            stream.flush()
            lose_claim(lost)
            with staged(folder) as won:
                stream.write("from the loser\n")
                stream.flush()
                assert (won / "predictions").read_text() == "1\n"

    with pytest.raises(TakenOverError):
        work(folder, share)


def test_of_several_unfinished_folders_the_one_with_most_steps_is_taken_over(folder: Path) -> None:
    for token, steps in (("a", 3), ("b", 12), ("c", 7)):
        left = folder.with_name(f".partial-{NAME}.{token}")
        left.mkdir(parents=True)
        (left / "steps").write_text(str(steps))
    other = folder.with_name(f".partial-{NAME}.two.a")  # of a run whose name begins alike
    other.mkdir()
    with staged(folder, steps=lambda path: int((path / "steps").read_text())) as staging:
        assert (staging / "steps").read_text() == "12"
    assert sorted(path.name for path in folder.parent.iterdir()) == [f".partial-{NAME}.two.a", NAME]


LINKS = ("config.yaml", "precision", "checkpoint-1", ".hidden", "predictions-test.jsonl")


def test_nothing_is_written_through_a_link_in_a_strangers_unfinished_folder(
    folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    left = folder.with_name(f".partial-{NAME}.a")
    left.mkdir(parents=True)
    outside.mkdir()
    for name in LINKS:
        (outside / name).write_text("of the user")
        (left / name).symlink_to(outside / name)
    (left / "loop").symlink_to(left / "loop")
    os.mkfifo(left / "pipe")
    work(folder, lambda staging: (staging / "precision").write_text("fp32"), write(0.5))
    assert {path.read_text() for path in outside.iterdir()} == {"of the user"}
    assert sorted(path.name for path in folder.iterdir()) == [
        *("config.yaml", "precision", "result.json")
    ]


def test_an_unfinished_folder_that_is_a_link_is_not_taken_over(
    folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".profile").write_text("of the user")
    folder.parent.mkdir(parents=True)
    link = folder.with_name(f".partial-{NAME}.a")
    link.symlink_to(outside)
    assert list_unfinished(folder.parent) == []
    work(folder, write(0.5))
    discard(folder)
    delete_permanently(folder.parent, [NAME])
    assert [path.name for path in outside.iterdir()] == [".profile"]


def test_a_folder_that_a_killed_process_left_in_an_unfinished_one_is_removed(folder: Path) -> None:
    hidden = folder.with_name(f".partial-{NAME}.a") / ".cache"
    hidden.mkdir(parents=True)
    (hidden / "file").touch()
    work(folder, write(0.5))
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "result.json"]


def test_a_record_that_its_user_keeps_elsewhere_is_replaced_again_and_again(
    folder: Path, tmp_path: Path
) -> None:
    work(folder, write(0.5))
    folder.rename(tmp_path / "elsewhere")
    for score in (0.6, 0.7):
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder, ignore_errors=True)
        folder.symlink_to(tmp_path / "elsewhere")
        work(folder, write(score), replace=True)
        assert score_in(folder) == score
        assert [path.name for path in folder.parent.iterdir()] == [NAME]
    assert score_in(tmp_path / "elsewhere") == 0.5


def test_unfinished_runs_are_discarded_unless_somebody_works_on_them(folder: Path) -> None:
    def discard_in_vain(_: Path) -> None:
        with pytest.raises(ClaimedError):
            discard(folder)

    with pytest.raises(KeyboardInterrupt):
        work(folder, save_checkpoint, discard_in_vain, fail(KeyboardInterrupt()))
    discard(folder)
    assert list(folder.parent.iterdir()) == []


def test_no_failure_is_recorded_of_a_run_that_another_process_has(tmp_path: Path) -> None:
    request = ask_for("backbone=tiny-bert", f"outputs={tmp_path}")
    with staged(request.folder) as staging:
        request.record_failure(ValueError("of the loser"))
        write_result(staging, synthetic_result(request), "")
    request.record_failure(ValueError("of the loser"))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [request.folder.name]


# Killed at any step.


def record_until_killed(folder: Path, score: float, last: int) -> bool:
    """Record a run in a process that is killed before its change number `last`; tell if it was."""
    result = RESULT | {"scores": {"accuracy": score}}
    return Worker(killed_recorder.record, folder, result, last).wait().returncode == 9


@pytest.mark.slow
def test_wherever_a_rerun_is_killed_readers_find_a_whole_record(folder: Path) -> None:
    outputs = folder.parent.parent
    work(folder, write(0.5))
    seen, last = [], 1
    while record_until_killed(folder, 0.6, last):
        last += 1
        seen.append(score_in(folder))
        assert [summary.main_score for summary in read_summaries(outputs)] == seen[-1:]
        assert [record.main_score for record in read_records(outputs)] == seen[-1:]
        assert find_run(NAME, outputs).main_score == seen[-1]
    assert len(seen) > 10
    assert set(seen) == {0.5, 0.6}, "it is killed before and after the new record is in place"
    assert score_in(folder) == 0.6
    assert [path.name for path in folder.parent.iterdir()] == [NAME]


@pytest.mark.slow
def test_wherever_a_first_recording_is_killed_the_next_one_is_whole(folder: Path) -> None:
    last = 1
    while record_until_killed(folder, 0.6, last):
        last += 1
        assert find_record(folder) is None or score_in(folder) == 0.6
        shutil.rmtree(folder, ignore_errors=True)
    assert last > 8
    assert score_in(folder) == 0.6
    assert [path.name for path in folder.parent.iterdir()] == [NAME]


def test_a_record_set_aside_is_left_to_the_live_process_that_replaces_it(folder: Path) -> None:
    work(folder, write(0.5))
    with staged(folder, replace=True) as staging:
        folder.rename(folder.with_name(f".replaced-{NAME}"))
        assert find_record(folder) is None
        folder.with_name(f".replaced-{NAME}").rename(folder)
        write(0.6)(staging)
    assert score_in(folder) == 0.6


def test_a_deletion_that_was_killed_is_finished_by_the_next(folder: Path) -> None:
    for half in (f".deleted-{NAME}", ".deleted-two"):
        (folder.with_name(half) / "content").mkdir(parents=True)
    work(folder, write(0.5))
    (folder.with_name(f".replaced-{NAME}") / "content").mkdir(parents=True)
    delete_permanently(folder.parent, [NAME])
    assert list(folder.parent.iterdir()) == []
    delete_permanently(folder.parent, [NAME])


def test_a_run_in_the_trash_is_replaced_by_a_newer_one(folder: Path) -> None:
    outputs = folder.parent.parent
    trash = outputs / "trash" / "runs"
    for score in (0.5, 0.6):
        work(folder, write(score))
        move_to_trash(outputs, [NAME])
    assert [path.name for path in trash.iterdir()] == [NAME]
    (trash / f".deleted-{NAME}").mkdir()  # a process was killed while it replaced the older one
    restore_from_trash(outputs, [NAME])
    assert score_in(folder) == 0.6
    assert list(trash.glob(NAME)) == []
    move_to_trash(outputs, ["absent"])


def test_a_record_that_is_a_relative_link_is_deleted_and_restored(folder: Path) -> None:
    outputs = folder.parent.parent
    work(folder, write(0.5))
    folder.rename(outputs.parent / "elsewhere")
    folder.symlink_to(Path("../../elsewhere"))
    move_to_trash(outputs, [NAME])
    assert find_record(folder) is None
    assert score_in(outputs / "trash" / "runs" / NAME) == 0.5
    restore_from_trash(outputs, [NAME])
    assert score_in(folder) == 0.5
    assert not list((outputs / "trash" / "runs").iterdir())


# Storage.


@pytest.mark.parametrize("deleted", ["outputs", "outputs/runs"])
def test_outputs_deleted_in_the_middle_are_one_line(tmp_path: Path, deleted: str) -> None:
    def delete(_: Path) -> None:
        shutil.rmtree(tmp_path / deleted)

    with pytest.raises(StorageError, match="outputs: was deleted while the run was trained"):
        work(tmp_path / "outputs" / "runs" / NAME, delete, write(0.5))


def test_an_unfinished_folder_deleted_in_the_middle_is_one_line(folder: Path) -> None:
    with pytest.raises(TakenOverError, match="unfinished folder"):
        work(folder, shutil.rmtree, write(0.5))


@pytest.mark.parametrize(
    "state",
    [
        SimpleNamespace(f_bavail=0, f_frsize=4096, f_files=10, f_favail=5),
        SimpleNamespace(f_bavail=10**6, f_frsize=4096, f_files=10, f_favail=0),
    ],
)
def test_a_librarys_own_error_on_a_full_disk_is_one_of_the_disk(
    folder: Path, state: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: state)
    with pytest.raises(StorageError, match="disk is full"), staged(folder):
        raise RuntimeError("[enforce fail at inline_container.cc:747] . open file failed")


def test_a_librarys_own_error_of_a_limit_is_one_of_the_storage(folder: Path) -> None:
    with pytest.raises(StorageError, match="File too large"), staged(folder):
        raise RuntimeError("Error while serializing: I/O error: File too large (os error 27)")


def test_a_full_disk_of_another_folder_keeps_its_own_message(folder: Path) -> None:
    said = "cache: cannot be written (No space left on device); choose another folder"
    with pytest.raises(SourceError, match=re.escape(said)), staged(folder):
        raise SourceError(said)


def save_tensors(file: Path) -> None:
    save_file({"weight": torch.zeros(3)}, file)


def save_pickle(file: Path) -> None:
    torch.save(torch.zeros(3), file)


@pytest.mark.slow
@pytest.mark.parametrize("save", [save_tensors, save_pickle, Path.touch])
@pytest.mark.parametrize("limit", ["nr_inodes=12", "size=256k"])
def test_a_file_system_that_can_hold_no_more_is_one_line(
    tmp_path: Path, save: Act, limit: str
) -> None:
    def fill(staging: Path) -> None:
        size = 0 if "inodes" in limit else 65536
        with suppress(OSError):
            for number in range(100):
                (staging / f"{number}").write_bytes(bytes(size))

    if subprocess.run(["mount", "-t", "tmpfs", "-o", limit, "tmpfs", tmp_path]).returncode:
        pytest.skip("needs the right to mount")
    try:
        with pytest.raises(StorageError, match="disk is full"):
            work(
                tmp_path / "outputs" / "runs" / NAME,
                fill,
                lambda staging: save(staging / "weights"),
                write(0.5),
            )
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EROFS, errno.EDQUOT])
def test_an_error_of_the_storage_is_one_line(folder: Path, number: int) -> None:
    def fail_there(staging: Path) -> None:
        raise OSError(number, os.strerror(number), str(staging / "adapter.safetensors"))

    with pytest.raises(StorageError, match="records are intact"):
        work(folder, fail_there)


@pytest.mark.parametrize("put", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_file_in_the_place_of_the_claims_is_no_claim(
    folder: Path, put: Callable[[Path], object]
) -> None:
    folder.parent.mkdir(parents=True)
    put(folder.with_name(".claims"))
    with pytest.raises(StorageError, match=r"cannot be written .*Not a directory.*\.claims"):
        work(folder, write(0.5))


def test_a_data_file_that_may_not_be_read_is_no_error_of_the_storage(folder: Path) -> None:
    with pytest.raises(PermissionError), staged(folder):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/train.csv")


def test_what_is_recorded_already_is_said_on_a_full_disk_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(folder, write(0.5))
    state = SimpleNamespace(f_bavail=0, f_frsize=4096, f_files=1, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _: state)
    with pytest.raises(AlreadyRecordedError):
        work(folder)


def test_every_file_is_on_the_disk_before_the_record_is_put_in_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def note(descriptor: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def check(path: Path, target: Path) -> Path:
        if target == folder:
            assert {"result.json", "config.yaml", "weights", path.name} <= set(flushed)
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "rename", check)
    work(folder, lambda staging: (staging / "weights").write_text("w"), write(0.5))
    assert flushed[-1] == "runs"


def test_a_file_system_without_links_and_flushing_of_folders_will_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    for call in ("link", "symlink", "fsync"):
        monkeypatch.setattr(os, call, refuse)
    with pytest.raises(KeyboardInterrupt):
        work(folder, save_checkpoint, fail(KeyboardInterrupt()))
    work(folder, end_run)
    assert score_in(folder) == 0.1


def test_a_disk_that_cannot_be_written_through_is_an_error_of_the_storage(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="cannot be written"):
        work(folder, write(0.5))
    assert find_record(folder) is None


def test_two_versions_of_the_program_keep_their_records_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (7, 8):
        monkeypatch.setattr(identity, "RESULT_FORMAT", version)
        request = ask_for("backbone=tiny-bert", f"outputs={tmp_path}")
        with staged(request.folder) as staging:
            write_result(staging, synthetic_result(request), "")
    assert len(read_summaries(tmp_path)) == 2


RESTRICTED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, and setpriv"
)
def test_a_folder_of_another_user_is_one_line(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("sparsead")
    request = ask_for("backbone=tiny-bert", f"outputs={tmp_path / 'o'}")
    with staged(request.folder) as staging:
        write_result(staging, synthetic_result(request), "")
    for path in (tmp_path / "o", *(tmp_path / "o").rglob("*")):
        os.chown(path, 65534, 65534)
    train = ("train", "backbone=tiny-bert", f"outputs={tmp_path / 'o'}")
    verbs: list[tuple[tuple[str, ...], int, str]] = [
        (("runs", "--outputs", str(tmp_path / "o")), 0, ""),
        (train, 0, ""),
        ((*train, "seed=2"), 2, "cannot be written"),
        (
            ("runs", "delete", "--all", "--yes", "--outputs", str(tmp_path / "o")),
            2,
            "cannot be deleted",
        ),
    ]
    for mode in (0o755, 0o700):
        (tmp_path / "o" / "runs").chmod(mode)
        for words, status, why in verbs if EXHAUSTIVE or mode == 0o755 else verbs[:2]:
            done = subprocess.run(
                [*RESTRICTED, script, *words], capture_output=True, text=True, cwd=tmp_path
            )
            assert done.returncode == (status if mode == 0o755 else 2), done.stderr
            assert (why if mode == 0o755 else "ermission denied") in done.stderr
            if done.returncode:
                assert done.stderr.count("sparsead:") == 1
                assert "Traceback" not in done.stderr
                assert "Error executing job" not in done.stderr
    assert request.folder.exists()
