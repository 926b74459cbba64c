"""The lock under which lines are appended to a journal of Optuna, which cuts off half a line."""

from __future__ import annotations

import os
from pathlib import Path

from optuna.storages.journal import JournalFileSymlinkLock


class WholeLineLock(JournalFileSymlinkLock):
    """Optuna's lock of a journal; whoever holds it finds a file that ends with a whole line.

    A full disk or a kill can leave half a line at the end. Optuna does not read such a line, but it
    would append the next one to it, and what lies in the middle of the file has to be readable.

    Args:
        file: the journal.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        self._journal = file

    def acquire(self) -> bool:
        """Wait for the lock, and cut off what is left of an unfinished line."""
        acquired = super().acquire()
        try:
            _cut_unfinished_line(self._journal)
        except BaseException:
            self.release()
            raise
        return acquired


def _cut_unfinished_line(file: Path) -> None:
    with file.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        if stream.read() in (b"", b"\n"):
            return
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)
