"""Processes as claims describe them: which one it is, and whether it is still running.

A process is identified by the boot id of its kernel and the clock tick at which it started. Unlike
its time of start, neither changes when the wall clock is set.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def describe_process() -> dict[str, Any]:
    """Return what identifies this process, as plain JSON values with a new random token."""
    pid = os.getpid()
    try:
        ticks = _start_ticks(pid)
    except OSError:  # this system has no /proc: only heartbeats tell whether the process is alive
        ticks = None
    return {
        "host": socket.gethostname(),
        "machine": find_machine(),
        "pid": pid,
        "ticks": ticks,
        "token": uuid.uuid4().hex[:16],
    }


def process_id(owner: Mapping[str, Any]) -> int:
    """Return the process id in the description of a process; 0 if there is no valid one."""
    pid = owner.get("pid")
    return pid if isinstance(pid, int) and 0 < pid < 2**31 else 0


def runs_here(owner: Mapping[str, Any]) -> bool | None:
    """Tell whether a process runs on this machine; None if that cannot be told from here.

    A zombie, a process that has ended but that its parent has not waited for, does not run.
    """
    pid, ticks = process_id(owner), owner.get("ticks")
    if find_machine() is None or owner.get("machine") != find_machine():
        return None
    try:
        started = _start_ticks(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None if _is_hidden(pid) else False
    except OSError:
        return None
    return started is not None and (bool(started == ticks) if type(ticks) is int else None)


def _start_ticks(pid: int) -> int | None:
    """Return the clock tick since boot at which a process started; None if it is a zombie.

    Raises:
        OSError: there is no such process, or this process may not look at it.
    """
    # The fields are explained in proc_pid_stat(5). Only the name in parentheses can contain spaces.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    state, ticks = fields[0], int(fields[19])
    return None if state in (b"Z", b"X") else ticks


def _is_hidden(pid: int) -> bool:
    """Tell whether a process exists although /proc does not show it (its option `hidepid`)."""
    try:
        os.kill(pid, 0)  # sends no signal
    except PermissionError:
        return True
    except OSError:
        return False
    return False


@cache
def find_machine() -> str | None:
    """Return a name that processes share exactly if they can see each other's process ids.

    A host name does not suffice: two machines may have the same, and containers have their own ids.
    None where the system has no such name.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None
