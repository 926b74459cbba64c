"""Errors in code of the user's own, such as a pruner, in one line that says where they are."""

from __future__ import annotations

import os
import site
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path

from sparsead.errors import ConfigError, SparseadError
from sparsead.errors.display import one_line
from sparsead.errors.memory import lacks_memory

_TRACEBACK = "HYDRA_FULL_ERROR=1 shows the whole traceback"


def describe_own_error(error: BaseException) -> str | None:
    """Return an error of the user's own code in one line; None if no such code took part in it.

    Code is the user's own if it lies neither in this package nor among the installed ones.

    Args:
        error: any error with its traceback.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename)]
    if not own:
        return None
    last = own[-1]
    file = os.path.relpath(last.filename)
    shown = last.filename if file.startswith("..") else file
    reason = f"{type(error).__name__}: {error}{_members(error)}"
    return one_line(f"{shown}:{last.lineno}: in {last.name}: {reason} ({_TRACEBACK})")


@contextmanager
def named_as_own(name: str) -> Iterator[None]:
    """Call in the block what the user has chosen as code, and name it in its errors.

    An error in a file of the user's own is left as it is: `describe_own_error` names that file. No
    such file takes part where a function of a library, or one that is written in C, was chosen.

    Args:
        name: the choice, such as `pruner: posix.system`.

    Raises:
        ConfigError: the call fails, and no file of the user's own took part.
    """
    try:
        yield
    except SparseadError:
        raise
    except Exception as error:
        if lacks_memory(error) or describe_own_error(error) is not None:
            raise
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ConfigError(f"{name} fails: {reason} ({_TRACEBACK})") from error


def _is_own(file: str) -> bool:
    path = Path(file)
    if not path.is_file():  # such as <string> or <frozen importlib>
        return False
    return not any(path.resolve().is_relative_to(folder) for folder in _installed())


def _installed() -> list[Path]:
    package = Path(__file__).resolve().parents[1]
    known = sysconfig.get_paths()
    folders = [*(known[key] for key in ("stdlib", "platstdlib", "purelib", "platlib", "scripts"))]
    return [package, *(Path(f).resolve() for f in (*folders, *site.getsitepackages()))]


def _members(error: BaseException) -> str:
    """Return which members an object has, if the error is that it lacks one."""
    if not (isinstance(error, AttributeError) and is_dataclass(error.obj)):
        return ""
    names = [field.name for field in fields(error.obj)]
    return f"; it has {', '.join(names)}" if names else ""
