from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier, Lock

import psutil
import pytest

from composing import ask_for
from sparsead.errors import AlreadyRecordedError, ClaimedError, RecordError
from sparsead.runs import claim
from sparsead.runs.claim import claimed, live_claim, newest_claim, remove_left_behind
from sparsead.runs.processes import describe_process
from sparsead.runs.record import write_result
from sparsead.runs.request import RunRequest, do_or_await
from sparsead.runs.staging import staged


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
def test_a_stale_claim_is_taken_over(
    folder: Path, owner: dict[str, object], age: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "BEAT_SECONDS", 0.01)
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


def test_setting_the_clock_does_not_end_a_claim(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claimed(folder) as mine:
        os.utime(mine.path, (0, 0))
        created, now = psutil.Process.create_time, time.time
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + 1)
        monkeypatch.setattr(time, "time", lambda: now() + 1e6)
        assert live_claim(folder) == mine
        with pytest.raises(ClaimedError), claimed(folder):
            pass


def test_setting_the_file_servers_clock_does_not_end_a_claim_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "BEAT_SECONDS", 0.2)
    path = leave_claim(folder, ELSEWHERE, age=1e4)

    def beat_later() -> None:
        time.sleep(0.1)
        os.utime(path, (1, 1))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(beat_later)
        with pytest.raises(ClaimedError, match="there"), claimed(folder):
            pass
    assert path.exists()


def test_a_zombie_is_dead(folder: Path) -> None:
    program = "import sys; from sparsead.runs.processes import describe_process as d; print(d())"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        leave_claim(folder, ast.literal_eval(process.stdout.read().decode()))
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and not reaped
        assert live_claim(folder) is None


def test_a_file_system_with_coarse_times_will_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, server = claim.read_last_beat, claim.read_file_system_time
    monkeypatch.setattr(claim, "read_last_beat", lambda each: exact(each) // 2 * 2)
    monkeypatch.setattr(claim, "read_file_system_time", lambda each: server(each) // 2 * 2)
    leave_claim(folder, ELSEWHERE)
    assert live_claim(folder) is not None
    leave_claim(folder, ELSEWHERE, age=1e4)
    assert live_claim(folder) is None


def test_another_process_with_the_same_number_is_not_the_owner(folder: Path) -> None:
    owner = describe_process()
    leave_claim(folder, owner)
    assert live_claim(folder) is not None
    leave_claim(folder, owner | {"ticks": owner["ticks"] - 1})
    assert live_claim(folder) is None


@pytest.mark.parametrize("ticks", [{}, {"ticks": None}, {"ticks": "7:12"}, {"ticks": [7]}])
def test_the_heartbeat_decides_about_a_process_of_another_version(
    folder: Path, ticks: dict[str, object]
) -> None:
    owner = {"machine": this_machine(), "pid": os.getpid(), "started": 1.0} | ticks
    leave_claim(folder, owner)
    assert live_claim(folder) is not None
    leave_claim(folder, owner, age=1e4)
    assert live_claim(folder) is None


def test_the_heartbeat_decides_about_a_process_that_proc_does_not_show(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hide(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", hide)
    leave_claim(folder, DEAD_HERE)
    assert live_claim(folder) is not None


@pytest.mark.parametrize("pid", ["x", -1, 0, 2**40, None, [1], 1.5])
def test_a_damaged_process_id_is_no_process(folder: Path, pid: object) -> None:
    leave_claim(folder, DEAD_HERE | {"pid": pid})
    assert live_claim(folder) is None


def test_a_deleted_claim_is_written_again_unless_another_process_has_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "BEAT_SECONDS", 0.01)
    with claimed(folder) as mine:
        shutil.rmtree(mine.path.parent)
        wait_for(lambda: newest_claim(folder) == mine)
        mine.path.unlink()
        other = leave_claim(folder, ELSEWHERE)
        os.utime(other, (1, 1))
        time.sleep(0.1)
        assert json.loads(other.read_text()) == ELSEWHERE
        assert other.stat().st_mtime == 1, "it beats for itself alone"
    assert other.exists()


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10
    while not condition() and time.monotonic() < limit:
        time.sleep(0.01)
    assert condition()


def test_the_owner_beats(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT_SECONDS", 0.01)
    with claimed(folder) as mine:
        os.utime(mine.path, (0, 0))
        wait_for(lambda: mine.path.stat().st_mtime > 0)


def test_many_at_once_never_hold_one_run_together(folder: Path) -> None:
    holders, lock, most = [0], Lock(), [0]
    workers, taken = 8, []
    barrier = Barrier(workers)

    def work(worker: int) -> None:
        for turn in range(25):
            barrier.wait(60)
            if worker == 0 and turn % 2:
                leave_claim(folder, DEAD_HERE)
            barrier.wait(60)  # not for ever: another thread may have failed
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


def test_a_folder_of_claims_may_go_while_it_is_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = Path.mkdir, []

    def find_what_goes(path: Path, *args: object, **options: bool) -> None:
        made.append(path)
        if len(made) == 1:
            raise FileExistsError
        make(path, **options)

    monkeypatch.setattr(Path, "mkdir", find_what_goes)
    with claimed(folder):
        assert len(made) == 2


@pytest.mark.slow
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


def test_a_job_of_a_sweep_waits_for_another_that_works_on_its_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    tries: list[RunRequest] = []

    def do(request: RunRequest) -> str:
        tries.append(request)
        if len(tries) < 3:
            raise ClaimedError("claimed")
        return "its record"

    assert do_or_await(ask_for("backbone=tiny-bert"), do) == "its record"
