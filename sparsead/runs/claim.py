"""Claims: a file that says which process works on a run. It needs no file locks, only a folder.

Claims are numbered, and the highest number owns the run. A process claims a run by creating the
file with the next number. The file system lets only one process create it, so that a stale claim
can be taken over without being removed first. A process that was suspended, for instance because
its machine slept, notices the higher number and gives up the run.
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
"""A claim is stale if its owner has missed this number of heartbeats."""
_LOOKS = 3
"""Number of times that an owner looks, a second apart, before it gives up its run."""


@dataclass(frozen=True)
class Claim:
    """The content of a claim's file: which process works on a run, and the claim's number."""

    path: Path
    number: int
    owner: dict[str, Any]

    @property
    def host(self) -> str:
        """The owner's host name; empty while the claim's file is being written."""
        return str(self.owner.get("host", ""))

    @property
    def pid(self) -> int:
        """The owner's process id on its host."""
        return int(self.owner.get("pid", 0))


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Claim a run for the duration of the block, and send heartbeats meanwhile.

    Args:
        folder: folder of the run's record, which need not exist yet.

    Raises:
        ClaimedError: another live process is working on this run.
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
    """Remove the claims of recorded runs whose owners were killed before they could remove them.

    A recorded run is never claimed again, so that nothing else would remove these files.

    Args:
        folders: folders of the runs' records, which need not exist yet.
    """
    for folder in folders:
        dead = [claim for claim in _claims(folder) if folder.exists() and not _is_alive(claim)]
        with suppress(OSError):  # another process removes them too, or the folder is read-only
            for claim in dead:
                claim.path.unlink(missing_ok=True)
            _claims_folder(folder).rmdir()


def check_owned(folder: Path, claim: Claim) -> None:
    """Check, before a record is moved into place, that no other process has taken over the run.

    Raises:
        RecordError: another process took it over after the claim went stale, for instance because
            the machine slept.
    """
    for _ in range(_LOOKS):
        newest = newest_claim(folder)
        if newest is not None and newest.owner == claim.owner:
            return
        time.sleep(1)  # a higher number may belong to a process that is just releasing its claim
    raise RecordError(f"{folder}: another process has taken over this run; its record will be kept")


def live_claim(folder: Path) -> Claim | None:
    """Return the claim of the live process that is working on a run, or None if there is none."""
    claim = newest_claim(folder)
    return claim if claim is not None and _is_alive(claim) else None


def newest_claim(folder: Path) -> Claim | None:
    """Return the claim with the highest number, whether or not its owner is alive."""
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
        _release(folder, mine)  # another process claimed the run at the same time: let it continue
        raise _claimed(folder, others[-1])
    return mine


def _create(path: Path) -> TextIO:
    while True:
        path.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another process has just removed the empty folder
            return path.open("x", encoding="utf-8")


def _claims_folder(folder: Path) -> Path:
    return folder.with_name(".claims")


def _claimed(folder: Path, claim: Claim | None) -> ClaimedError:
    who = f" (host {claim.host}, process {claim.pid})" if claim and claim.host else ""
    return ClaimedError(f"{folder}: another process is working on this run{who}")


def _release(folder: Path, mine: Claim) -> None:
    for claim in _claims(folder):  # our own comes last, so that a stale one never becomes newest
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
        return {}  # half written: its age decides whether the writer is still alive
    return owner if isinstance(owner, dict) else {}


def _is_alive(claim: Claim) -> bool:
    """Tell whether the owner is alive: by its process id on this machine, else by its heartbeat."""
    import psutil

    if claim.owner.get("machine") == _machine():
        try:
            return bool(psutil.Process(claim.pid).create_time() == claim.owner.get("started"))
        except psutil.Error:
            return False
    try:
        silent = _file_system_time(claim.path.parent) - claim.path.stat().st_mtime
    except OSError:
        return claim.path.exists()  # the folder is read-only: assume that the owner is alive
    return silent < STALE_BEATS * BEAT_SECONDS


def _file_system_time(folder: Path) -> float:
    """Return the time of the file server, whose clock may differ from this machine's clock."""
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
    """Return a name that processes share exactly if they can see each other's process ids.

    A host name does not suffice: two machines may have the same, and containers have their own ids.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode()}"
