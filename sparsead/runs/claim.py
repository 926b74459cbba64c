"""Claims: a file that says which process works on a run. It needs no file locks, only a folder.

Claims are numbered, and the highest number owns the run. A process claims a run by creating the
file with the next number. The file system lets only one process create it, so that a stale claim
can be taken over without being removed first. A process that was suspended, for instance because
its machine slept, notices the higher number and gives up the run.

Whether the owner of a claim is alive is told by its process where that can be seen. Otherwise, as
for a process on another machine, the claim is alive as long as its file is touched: the heartbeat.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOTDIR
from pathlib import Path
from stat import S_ISDIR
from threading import Event, Thread
from typing import Any, TextIO

from sparsead.errors import ClaimedError
from sparsead.runs.checked import parse_file
from sparsead.runs.processes import describe_process, process_id, runs_here

BEAT_SECONDS = 15.0
STALE_BEATS = 6
"""A claim is stale if its owner has missed this number of heartbeats."""
WATCHED_BEATS = 1.5
"""A stale heartbeat is watched for this number of beats before its run is taken over."""
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
        """The owner's process id on its host; 0 while the claim's file is being written."""
        return process_id(self.owner)

    @property
    def token(self) -> str:
        """A random name of this claim; empty while the claim's file is being written."""
        return str(self.owner.get("token", ""))


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
    beating = Thread(target=_beat, args=(folder, claim, stop), daemon=True)
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


def owns(folder: Path, token: str) -> bool:
    """Tell whether the claim with this token still owns the run, or no other claim does.

    There may be no claim at all if someone has deleted it; the owner's next heartbeat writes it
    again.

    Args:
        folder: folder of the run's record.
        token: the token of the claim that this process took.
    """
    for look in range(_LOOKS):
        if look:  # a higher number may belong to a process that is just releasing its claim
            time.sleep(1)
        newest = newest_claim(folder)
        if newest is None or newest.token == token:
            return True
    return False


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
    if before is not None and not _has_ended(before):
        raise _claimed(folder, before)
    number = 1 if before is None else before.number + 1
    mine = Claim(_claims_folder(folder) / f"{folder.name}.{number}", number, describe_process())
    try:
        _write(mine)
    except FileExistsError:
        raise _claimed(folder, newest_claim(folder)) from None
    others = [claim for claim in _claims(folder) if claim != mine]
    if others != ([] if before is None else [before]) and any(map(_is_alive, others)):
        _release(folder, mine)  # another process claimed the run at the same time: let it continue
        raise _claimed(folder, others[-1])
    _remove_stale(others)
    return mine


def _write(claim: Claim) -> None:
    """Write the claim's file; the file system lets only one process create it.

    Raises:
        FileExistsError: another process has created it.
    """
    try:
        with _create(claim.path) as stream:
            json.dump(claim.owner, stream)
    except OSError as error:
        if not isinstance(error, FileExistsError):  # the disk is full: leave no empty claim
            claim.path.unlink(missing_ok=True)
        raise


def _create(path: Path) -> TextIO:
    while True:
        try:
            path.parent.mkdir(exist_ok=True)
        except FileExistsError as error:
            # Another process may have removed the empty folder since mkdir found it.
            if _is_no_folder(path.parent):
                reason = os.strerror(ENOTDIR)
                raise NotADirectoryError(ENOTDIR, reason, str(path.parent)) from error
            continue
        with suppress(FileNotFoundError):  # another process has just removed the empty folder
            return path.open("x", encoding="utf-8")


def _is_no_folder(path: Path) -> bool:
    """Tell whether there is something at a path that is not a folder."""
    try:
        return not S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return path.is_symlink()  # to nothing


def _claims_folder(folder: Path) -> Path:
    return folder.with_name(".claims")


def _claimed(folder: Path, claim: Claim | None) -> ClaimedError:
    who = f" (host {claim.host}, process {claim.pid})" if claim and claim.host else ""
    return ClaimedError(f"{folder}: another process is working on this run{who}")


def _release(folder: Path, mine: Claim) -> None:
    # Our own comes last, so that a stale one never becomes the newest.
    _remove_stale([claim for claim in _claims(folder) if claim.number < mine.number])
    if _owner(mine.path) == mine.owner:
        mine.path.unlink(missing_ok=True)
    with suppress(OSError):
        mine.path.parent.rmdir()


def _remove_stale(claims: Iterable[Claim]) -> None:
    for claim in claims:
        if not _is_alive(claim):
            claim.path.unlink(missing_ok=True)


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
        owner = parse_file(path)
    except ValueError:
        return {}  # half written or damaged: its age decides whether the writer is still alive
    return owner if isinstance(owner, dict) else {}


def _has_ended(claim: Claim) -> bool:
    """Tell, before a run is taken over, whether the claim's owner has ended.

    The clock that dates the heartbeats may have been set. Therefore a stale heartbeat is watched
    for longer than one beat, as measured by a clock that cannot be set.
    """
    if _is_alive(claim):
        return False
    if runs_here(claim.owner) is not None:
        return True
    try:
        before = read_last_beat(claim)
        time.sleep(WATCHED_BEATS * BEAT_SECONDS)
        return read_last_beat(claim) == before
    except FileNotFoundError:
        return True  # the owner has just released its claim


def _is_alive(claim: Claim) -> bool:
    """Tell whether the owner is alive: by its process id on this machine, else by its heartbeat."""
    here = runs_here(claim.owner)
    if here is not None:
        return here
    try:
        silent = read_file_system_time(claim.path.parent) - read_last_beat(claim)
    except OSError:
        return claim.path.exists()  # the folder is read-only: assume that the owner is alive
    return silent < STALE_BEATS * BEAT_SECONDS


def read_last_beat(claim: Claim) -> float:
    """Return the time of the claim's last heartbeat, in seconds since the epoch.

    The file is opened, because a client of a network file system may cache the times of a file
    that it does not open. It is not waited for: somebody may have put a pipe in its place.
    """
    descriptor = os.open(claim.path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def read_file_system_time(folder: Path) -> float:
    """Return the file server's time in seconds since the epoch; its clock may differ from ours."""
    probe = folder / f"clock-{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _beat(folder: Path, claim: Claim, stop: Event) -> None:
    """Touch the claim's file regularly; write it again if someone has deleted it."""
    while not stop.wait(BEAT_SECONDS):
        with suppress(OSError):
            if _owner(claim.path) == claim.owner:
                os.utime(claim.path)
            elif not _claims(folder):
                _write(claim)
