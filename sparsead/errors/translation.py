"""Errors of libraries that read what somebody else wrote, each turned into one of a single line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sparsead.errors import SparseadError
from sparsead.errors.memory import lacks_memory


@contextmanager
def translate_errors(translate: Callable[[str], Exception]) -> Iterator[None]:
    """Turn an error of a library in the block into another one, of one line.

    A crafted file can make a library raise any error, such as an IndexError. Errors of the
    project's own, and of a memory that is full, are left as they are.

    Args:
        translate: returns the error to raise, from the first sentence of the library's message.
    """
    try:
        yield
    except SparseadError:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        raise translate(_first_sentence(error)) from error


def _first_sentence(error: Exception) -> str:
    """Return the first sentence of an error's message, which may go on for pages."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    announced = len(lines) > 1 and lines[0].endswith(":")
    return " ".join(lines[: 2 if announced else 1]) or type(error).__name__
