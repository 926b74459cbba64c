"""Where a run's result comes from: the program's and the caller's commit, packages, machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from sparsead.runs.secrets import hide_secrets

_STATUS = (
    *("status", "--porcelain=v2", "--branch", "--untracked-files=no"),
    *("--no-ahead-behind", "--no-renames", "--ignore-submodules=all"),
)
_COMMIT = re.compile(r"^# branch\.oid ([0-9a-f]{40,64})$", re.MULTILINE)
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",  # of objects that a repository may leave to a remote one
    "GIT_ALLOW_PROTOCOL": "none",
    "LC_ALL": "C",
}
_SECONDS = 5
_CPU = Path("/proc/cpuinfo")
_DRIVER = Path("/proc/driver/nvidia/version")


def describe_provenance() -> dict[str, Any]:
    """Return what a run's record says of its origin; what cannot be found out is None.

    Secrets in the command are hidden. It takes a moment, and never fails.

    Returns:
        `program` and `caller`: commit of the Git repository that contains the program, and of the
        one that contains the current folder, and whether it has changes that are not committed.
        `packages`: versions of all installed packages by name. `processor`, `system` and `driver`,
        which is NVIDIA's. `command`: the words of the command line.
    """
    return {
        "command": hide_secrets([str(word) for word in sys.argv]),
        "program": describe_program(),
        "caller": describe_commit(Path()),
        "packages": dict(_packages()),
        "processor": _first_line(_CPU, "model name") or platform.processor() or None,
        "system": platform.platform(),
        "driver": _first_line(_DRIVER, "NVRM version"),
    }


@cache
def describe_program() -> dict[str, Any] | None:
    """Return the commit of the program, as it was at the first run of this process."""
    return describe_commit(Path(__file__).parent)


def describe_commit(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the Git repository that contains a folder; None if there is none.

    `changed` tells whether a tracked file differs from the commit; None if Git takes too long to
    tell, or would have to run a filter of the repository's own. Submodules are not looked at.
    """
    status = None if _has_own_filters(folder) else _git(folder, *_STATUS)
    if status is None:
        commit = _git(folder, "rev-parse", "--verify", "HEAD")
        return {"commit": commit, "changed": None} if commit else None
    found = _COMMIT.search(status)
    if found is None:
        return None
    changed = any(not line.startswith("#") for line in status.splitlines())
    return {"commit": found[1], "changed": changed}


def _has_own_filters(folder: Path) -> bool:
    """Tell whether a repository names programs through which Git would pass its files.

    Those that the user or the system has set up for all repositories, such as Git LFS, are trusted.
    """
    found = _git(folder, "config", "--show-scope", "--get-regexp", r"^filter\..*\.(clean|process)$")
    return any(line.startswith(("local", "worktree")) for line in (found or "").splitlines())


def _git(folder: Path, *words: str) -> str | None:
    """Return what Git prints; None if it fails. It runs no program that the repository names."""
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *words]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | _ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def _packages() -> dict[str, str]:
    """Return the versions of all packages that were installed at the first run of this process."""
    found: dict[str, str] = {}
    for package in distributions():
        name = package.metadata["Name"] if package.metadata else None
        if name:
            found.setdefault(str(name), str(package.version))
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _first_line(file: Path, beginning: str) -> str | None:
    """Return the text behind the colon in the first line of a file that begins so."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return None
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(beginning))
    return next(found, None)
