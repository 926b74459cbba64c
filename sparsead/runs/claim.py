"""A claim: one file says which process is at a run, on any shared folder and without locks.

Claims are numbered. A process takes a run by creating the next number, which the file system lets
one process do alone; so nobody ever has to remove a stale claim before it is replaced, and the
holder of the highest number is the owner. An owner that was only asleep sees the higher number.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, TextIO

from sparsead.errors import ClaimedError, RecordError

BEAT_SECONDS = 15.0
STALE_BEATS = 6
"""A claim is stale after so many beats without one."""
_LOOKS = 3


@dataclass(frozen=True)
class Claim:
    """Who is at a run, as the claim's file has it; `number` orders the claims of one run."""

    path: Path
    number: int
    owner: dict[str, Any]

    @property
    def host(self) -> str:
        """The owner's host; empty while the claim is being written."""
        return str(self.owner.get("host", ""))

    @property
    def pid(self) -> int:
        """The owner's process on its host."""
        return int(self.owner.get("pid", 0))


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Hold the run whose record is, or will be, `folder`; beat while the block runs.

    Raises:
        ClaimedError: a live process is at this run.
        OSError: the folder of the runs cannot be written.
    """
    claim = _take(folder)
    stop = Event()
    beating = Thread(target=_beat, args=(claim.path, stop), daemon=True)
    beating.start()
    try:
        yield claim
    finally:
        stop.set()
        beating.join()
        _release(folder, claim)


def remove_left_behind(folders: Iterable[Path]) -> None:
    """Remove the claims of recorded runs whose owners were killed before they could.

    Nobody claims a recorded run again, so that these would stay for ever.

    Args:
        folders: where the records are, or will be.
    """
    for folder in folders:
        dead = [claim for claim in _claims(folder) if folder.exists() and not _is_alive(claim)]
        with suppress(OSError):  # others do the same, or the folder may only be read
            for claim in dead:
                claim.path.unlink(missing_ok=True)
            _claims_folder(folder).rmdir()


def check_owned(folder: Path, claim: Claim) -> None:
    """Make sure, before a record is put in place, that nobody took the run over meanwhile.

    Raises:
        RecordError: the claim went stale, for instance while the machine slept.
    """
    for _ in range(_LOOKS):
        newest = newest_claim(folder)
        if newest is not None and newest.owner == claim.owner:
            return
        time.sleep(1)  # a higher number may be of one who is just stepping back
    raise RecordError(f"{folder}: another process took this run over; leaving it to that one")


def live_claim(folder: Path) -> Claim | None:
    """Return the claim of the process that is at a run, if there is one and it is alive."""
    claim = newest_claim(folder)
    return claim if claim is not None and _is_alive(claim) else None


def newest_claim(folder: Path) -> Claim | None:
    """Return the claim with the highest number, alive or not."""
    claims = _claims(folder)
    return claims[-1] if claims else None


def _take(folder: Path) -> Claim:
    before = newest_claim(folder)
    if before is not None and _is_alive(before):
        raise _claimed(folder, before)
    number = 1 if before is None else before.number + 1
    owner = _myself()
    path = _claims_folder(folder) / f"{folder.name}.{number}"
    try:
        with _create(path) as stream:
            json.dump(owner, stream)
    except FileExistsError:
        raise _claimed(folder, newest_claim(folder)) from None
    mine = Claim(path, number, owner)
    others = [claim for claim in _claims(folder) if claim != mine]
    if others != ([] if before is None else [before]) and any(map(_is_alive, others)):
        _release(folder, mine)  # the ground moved under us: the other one stays
        raise _claimed(folder, others[-1])
    return mine


def _create(path: Path) -> TextIO:
    while True:
        path.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # the last process to leave has just removed the folder
            return path.open("x", encoding="utf-8")


def _claims_folder(folder: Path) -> Path:
    return folder.with_name(".claims")


def _claimed(folder: Path, claim: Claim | None) -> ClaimedError:
    who = f" (host {claim.host}, process {claim.pid})" if claim and claim.host else ""
    return ClaimedError(f"{folder}: another process is at this run{who}")


def _release(folder: Path, mine: Claim) -> None:
    for claim in _claims(folder):  # ours last, so that no stale one is ever the newest
        stale = claim.number < mine.number and not _is_alive(claim)
        if stale or claim.owner == mine.owner:
            claim.path.unlink(missing_ok=True)
    with suppress(OSError):
        mine.path.parent.rmdir()


def _claims(folder: Path) -> list[Claim]:
    prefix = f"{folder.name}."
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(_claims_folder(folder)):
            number = entry.name.removeprefix(prefix)
            if entry.name.startswith(prefix) and number.isdecimal():
                found.append(Claim(Path(entry.path), int(number), _owner(Path(entry.path))))
    return sorted(found, key=lambda claim: claim.number)


def _owner(path: Path) -> dict[str, Any]:
    try:
        owner = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # being written this moment, or its writer was killed: its age decides
    return owner if isinstance(owner, dict) else {}


def _is_alive(claim: Claim) -> bool:
    """Tell whether the owner lives: by its process on this machine, else by its last beat."""
    import psutil

    if claim.owner.get("machine") == _machine():
        try:
            return bool(psutil.Process(claim.pid).create_time() == claim.owner.get("started"))
        except psutil.Error:
            return False
    try:
        silent = _file_system_time(claim.path.parent) - claim.path.stat().st_mtime
    except OSError:
        return claim.path.exists()  # a folder that may only be read: leave the claim alone
    return silent < STALE_BEATS * BEAT_SECONDS


def _file_system_time(folder: Path) -> float:
    """Return the clock of the machine that keeps the folder; ours may differ from it."""
    probe = folder / f"clock-{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _beat(path: Path, stop: Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(path)


def _myself() -> dict[str, Any]:
    import psutil

    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "token": uuid.uuid4().hex,
    }


def _machine() -> str:
    """Return what two processes share that see each other's process ids; hosts' names may clash."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode()}"
