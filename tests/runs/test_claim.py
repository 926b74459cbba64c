from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier, Lock

import pytest

from sparsead.errors import AlreadyRecordedError, ClaimedError, RecordError
from sparsead.runs import claim
from sparsead.runs.claim import claimed, live_claim, newest_claim, remove_left_behind
from sparsead.runs.record import staged, write_result


def this_machine() -> object:
    """Return what the claims of this process say of its machine."""
    with TemporaryDirectory() as runs, claimed(Path(runs, "one")) as mine:
        return mine.owner["machine"]


DEAD_HERE = {"machine": this_machine(), "pid": 2**22 + 1, "started": 1.0, "host": "here"}
ELSEWHERE = {"machine": "another", "pid": 1, "started": 1.0, "host": "there"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "one"


def leave_claim(folder: Path, owner: dict[str, object], number: int = 1, age: float = 0) -> Path:
    path = folder.with_name(".claims") / f"{folder.name}.{number}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_claim_names_its_owner_and_leaves_nothing(folder: Path) -> None:
    with claimed(folder):
        live = live_claim(folder)
        assert live is not None
        assert live.pid == os.getpid()
        with pytest.raises(ClaimedError, match=str(os.getpid())), claimed(folder):
            pass
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize(("owner", "age"), [(DEAD_HERE, 0), (ELSEWHERE, 1e4), ({}, 1e4)])
def test_a_stale_claim_is_taken_over(folder: Path, owner: dict[str, object], age: float) -> None:
    leave_claim(folder, owner, number=3, age=age)
    assert live_claim(folder) is None
    with claimed(folder) as mine:
        assert mine.number == 4
    assert newest_claim(folder) is None


@pytest.mark.parametrize(("owner", "age"), [(ELSEWHERE, 0), ({}, 0)])
def test_a_claim_that_beats_is_left_alone(
    folder: Path, owner: dict[str, object], age: float
) -> None:
    path = leave_claim(folder, owner, age=age)
    with pytest.raises(ClaimedError), claimed(folder):
        pass
    assert path.exists()


def test_the_owner_beats(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT_SECONDS", 0.01)
    with claimed(folder) as mine:
        os.utime(mine.path, (0, 0))
        limit = time.monotonic() + 10
        while mine.path.stat().st_mtime == 0 and time.monotonic() < limit:
            time.sleep(0.01)
        assert mine.path.stat().st_mtime > 0


def test_many_at_once_never_hold_one_run_together(folder: Path) -> None:
    holders, lock, most = [0], Lock(), [0]
    workers, taken = 8, []
    barrier = Barrier(workers)

    def work(worker: int) -> None:
        for turn in range(25):
            barrier.wait()
            if worker == 0 and turn % 2:
                leave_claim(folder, DEAD_HERE)
            barrier.wait()
            try:
                with claimed(folder):
                    with lock:
                        holders[0] += 1
                        most[0] = max(most[0], holders[0])
                        taken.append(worker)
                    time.sleep(0.001)
                    with lock:
                        holders[0] -= 1
            except ClaimedError:
                pass

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    assert most == [1]
    assert len(taken) >= 25


def test_who_slept_through_a_takeover_records_nothing(folder: Path) -> None:
    with pytest.raises(RecordError, match="has taken over this run"), staged(folder):
        leave_claim(folder, ELSEWHERE, number=2)
    assert not folder.exists()
    assert live_claim(folder) is not None


def test_who_waited_finds_the_record(folder: Path) -> None:
    with staged(folder) as staging:
        write_result(staging, {}, "")
    with pytest.raises(AlreadyRecordedError), staged(folder):
        pass


def test_what_killed_owners_leave_goes_once_their_run_is_recorded(folder: Path) -> None:
    begun, busy = folder.with_name("begun"), folder.with_name("busy")
    for recorded in (folder, busy):
        recorded.mkdir()
    left = {
        path: leave_claim(path, owner)
        for path, owner in ((folder, DEAD_HERE), (begun, DEAD_HERE), (busy, ELSEWHERE))
    }
    remove_left_behind(left)
    assert {path for path, file in left.items() if file.exists()} == {begun, busy}
    begun.mkdir()
    left[busy].unlink()
    remove_left_behind(left)
    assert not left[begun].parent.exists()
