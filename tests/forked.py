"""Processes that are forked from one that has imported torch, transformers and this package.

A new interpreter needs seconds to import them, a fork needs none. A forked command has a process,
streams, a folder and an environment of its own, as one that is started by the console script. Only
what concerns imports, or a variable that a library reads when it is imported, needs the console
script itself (the fixture `sparsead`).
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing import current_process, get_context
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

_IMPORTED = (
    *("torch", "transformers", "datasets", "evaluate", "accelerate", "sklearn.metrics"),
    *("transformers.models.bert.modeling_bert", "transformers.trainer", "torch._dynamo"),
    *("scipy.stats", "pandas", "pyarrow.parquet", "rich.live", "rich.markdown"),
    *("sparsead.train", "sparsead.commands.train", "sparsead.commands.reproduce"),
    *("sparsead.commands.compare", "sparsead.commands.table", "sparsead.commands.runs"),
    "conf_files",
    "frozen",
)
SECONDS = 300
"""The longest time that a process may take."""

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload([*_IMPORTED])


class Worker:
    """A process that calls a function; what it prints is in two files.

    The function takes the worker's end of a pipe, whose other end is `pipe`, and then `arguments`.
    """

    def __init__(
        self,
        function: Callable[..., object],
        *arguments: object,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._files = tempfile.TemporaryDirectory()
        self._output_files = [Path(self._files.name, name) for name in ("out", "err")]
        for file in self._output_files:
            file.touch()
        self.pipe, theirs = _CONTEXT.Pipe()
        place = str(folder or Path.cwd())
        variables = {**os.environ, **(environment or {})}
        self.process = _CONTEXT.Process(
            target=_enter, args=(self._output_files, place, variables, function, theirs, arguments)
        )
        self.process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def has_ended(self) -> bool:
        return self.process.exitcode is not None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process with signal 9, and wait until it is gone."""
        self.process.kill()
        self.process.join()

    def wait(self, seconds: float = SECONDS) -> CompletedProcess[str]:
        """Wait until the process ends; return its exit status and what it has printed.

        Raises:
            TimeoutError: it took longer; it is then killed.
        """
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.kill()
            raise TimeoutError(f"took longer than {seconds} s")
        out, err = (file.read_text("utf-8") for file in self._output_files)
        self._files.cleanup()
        return CompletedProcess((), self.process.exitcode, out, err)


def start_command(words: Sequence[str], folder: Path, **environment: str) -> Worker:
    """Start `sparsead` with these words in a folder."""
    words = ["sparsead", *map(str, words)]
    return Worker(call, "sparsead.cli", words, folder=folder, environment=environment)


def call(_pipe: Any, module: str, words: list[str]) -> None:
    """Call the function `main` of a module with these words as the command line."""
    sys.argv = words
    import_module(module).main()


def _enter(
    printed: Sequence[Path],
    folder: str,
    environment: dict[str, str],
    function: Callable[..., object],
    pipe: Any,
    arguments: Sequence[object],
) -> None:
    """Become a process like one that a shell has started, and call the function."""
    current_process().name = "MainProcess"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    for number, (name, file) in enumerate(zip(("stdout", "stderr"), printed, strict=True), start=1):
        written = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(written, number)
        os.close(written)
        setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    function(pipe, *arguments)
