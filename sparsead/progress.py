"""What a command tells while it works: lines and, on a terminal, one labelled bar below them.

Work that takes long is a stage: `with stage("tokenising", total=5) as shown:`, with calls of
`shown.advance()` in it. On a terminal the innermost stage is the bar, and lines are printed above
it. Elsewhere a line says at most every 30 seconds how far the work is. A sweep says by `name_sweep`
which of its runs this is.

`--quiet` prints only where the runs are, and `--json` one JSON object instead; they reach worker
processes through an environment variable.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import current_process
from typing import TYPE_CHECKING, Any

from sparsead.errors import ConfigError
from sparsead.errors.display import SafeFormatter, wrap

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

log = logging.getLogger(__name__)

LINE_SECONDS = 30.0
"""Where no bar can be drawn, a line is printed at most this often."""
_REFRESHES = 4
"""Number of times that the bar is drawn in a second."""
_WIDE = 100
"""From this width of the terminal on, the bar is longer."""
OUTPUT_VARIABLE = "SPARSEAD_OUTPUT"
"""Environment variable that holds how much a command prints: `quiet`, `json` or nothing."""
QUIET, JSON = "quiet", "json"


@dataclass
class Stage:
    """Work of which the user sees how far it is.

    Attributes:
        label: what is done, such as "training, epoch 2 of 10".
        total: number of steps; None if it is not known.
        done: number of steps that are done.
        note: more to show beside the bar, such as "loss 0.52".
        in_bytes: whether the steps are bytes.
    """

    label: str
    total: int | None = None
    done: int = 0
    note: str = ""
    in_bytes: bool = False
    _began: float = field(init=False)
    _first: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Begin now."""
        self._began = time.monotonic()

    def start_at(self, step: int) -> None:
        """Say that the first `step` steps were done before, by a process that was interrupted."""
        self.done = self._first = step
        self._began = time.monotonic()

    def advance(self) -> None:
        """Say that one more step is done."""
        self.done += 1
        _shown.update()

    def show(self, done: int, total: int | None = None) -> None:
        """Say how many steps are done by now, and of how many."""
        if not self.done:
            self.start_at(done)
        self.done, self.total = done, total
        _shown.update()

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the stage ends; None as long as nothing is known of its speed."""
        own = self.done - self._first
        if not self.total or own <= 0:
            return None
        return (time.monotonic() - self._began) / own * (self.total - self.done)

    @property
    def remarks(self) -> str:
        """What is shown beside the bar: the steps, the note, and the time that is left."""
        steps = "" if self.total is None else f"{self.done}/{self.total}"
        if self.in_bytes:
            ends = [self.done, self.total] if self.total else [self.done] * bool(self.done)
            steps = " of ".join(map(format_bytes, ends))
        left = self.seconds_left
        about = "" if left is None else f"{format_seconds(left)} left"
        return ", ".join(filter(None, (steps, self.note, about)))


@contextmanager
def stage(label: str, total: int | None = None, *, in_bytes: bool = False) -> Iterator[Stage]:
    """Show a stage for the duration of the block; within another stage it takes its place."""
    entered = Stage(label, total, in_bytes=in_bytes)
    _shown.enter(entered)
    try:
        yield entered
    finally:
        _shown.leave(entered)


def print_line(text: str) -> None:
    """Print a line on standard output, above the bar if there is one."""
    if output_mode() is None:
        _shown.print_line(text)


def name_sweep(label: str) -> None:
    """Put a text such as "run 2 of 9" before the label of each stage; an empty one ends that."""
    _shown.sweep = label


def output_mode() -> str | None:
    """Return "quiet" or "json" if the user asked for it, else None."""
    mode = os.environ.get(OUTPUT_VARIABLE)
    return mode if mode in (QUIET, JSON) else None


def choose_output(words: list[str]) -> list[str]:
    """Take `--quiet` and `--json` out of a command's words, and return the others.

    Raises:
        ConfigError: both are given.
    """
    _check_output(quiet=f"--{QUIET}" in words, json=f"--{JSON}" in words)
    for option in (QUIET, JSON):
        if f"--{option}" in words:
            os.environ[OUTPUT_VARIABLE] = option
    return [word for word in words if word not in (f"--{QUIET}", f"--{JSON}")]


@contextmanager
def output_as(*, quiet: bool, json: bool) -> Iterator[None]:
    """Print for the duration of the block only what `--quiet` or `--json` of a verb ask for.

    Raises:
        ConfigError: both are given.
    """
    _check_output(quiet=quiet, json=json)
    before = os.environ.get(OUTPUT_VARIABLE)
    if quiet or json:
        os.environ[OUTPUT_VARIABLE] = QUIET if quiet else JSON
    try:
        yield
    finally:
        os.environ.pop(OUTPUT_VARIABLE, None)
        os.environ.update({} if before is None else {OUTPUT_VARIABLE: before})


def _check_output(*, quiet: bool, json: bool) -> None:
    if quiet and json:
        raise ConfigError(f"--{QUIET}: cannot be combined with --{JSON}; give one of the two")


def format_seconds(seconds: float) -> str:
    """Return a duration in words, such as "40 s", "4 min" or "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def format_bytes(count: int) -> str:
    """Return a number of bytes in words, such as "40 kB", "512 MB" or "1.6 GB"."""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    if count < 1e9:
        return f"{count / 1e6:.0f} MB"
    return f"{count / 1e9:.1f} GB"


@contextmanager
def printed_log() -> Iterator[None]:
    """Print this package's messages as lines, in a command that does not leave that to Hydra."""
    package = logging.getLogger(__package__)
    before = package.level, package.propagate
    handler = LineHandler()
    handler.setFormatter(SafeFormatter("%(message)s"))
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.level, package.propagate = before
        name_sweep("")


def can_draw() -> bool:
    """Tell whether this process may draw a bar: it is the only one that writes to a terminal."""
    alone = current_process().name == "MainProcess" and os.environ.get("RANK", "0") == "0"
    return alone and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class LineHandler(logging.StreamHandler[Any]):
    """Prints log messages as lines above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message; those about the course of one run are left out in a sweep."""
        if record.levelno >= logging.WARNING or not (_shown.sweep and _tells_course(record)):
            print_line(self.format(record))


def _tells_course(record: logging.LogRecord) -> bool:
    return not record.name.startswith(("sparsead.commands", "sparsead.search", __name__))


class _Shown:
    """The stages that are entered in this process, and the bar that shows the innermost."""

    def __init__(self) -> None:
        self.sweep = ""
        self._stages: list[Stage] = []
        self._bar: Live | None = None
        self._printed = time.monotonic()

    def enter(self, entered: Stage) -> None:
        if not self._stages:
            self._printed = time.monotonic()
            if can_draw() and output_mode() != QUIET:
                self._bar = _draw_bar(self)
        self._stages.append(entered)
        if self._bar is not None:
            self._bar.refresh()  # so that a short stage is seen too

    def leave(self, left: Stage) -> None:
        # An error may have left inner ones there, which are left only when they are collected.
        places = [place for place, entered in enumerate(self._stages) if entered is left]
        del self._stages[min(places, default=len(self._stages)) :]
        if not self._stages and self._bar is not None:
            self._bar.stop()
            self._bar = None

    def update(self) -> None:
        """Print a line if there is no bar, and the last one was long ago; a bar draws itself."""
        now = time.monotonic()
        if self._bar is None and self._stages and now - self._printed >= LINE_SECONDS:
            self._printed = now
            log.info("%s", self.describe())

    def print_line(self, text: str) -> None:
        self._printed = time.monotonic()
        if not sys.stdout.isatty():
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
            return
        text = wrap(text)
        if self._bar is None:
            sys.stdout.write(f"{text}\n")
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @property
    def innermost(self) -> Stage | None:
        return self._stages[-1] if self._stages else None

    def describe(self) -> str:
        prefix = f"{self.sweep}: " if self.sweep else ""
        innermost = self._stages[-1]
        return f"{prefix}{': '.join(filter(None, (innermost.label, innermost.remarks)))}"


def _draw_bar(shown: _Shown) -> Live:
    """Start a bar that shows the innermost stage as it is each time that the bar is drawn."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    bar = Live(
        get_renderable=lambda: _render(shown, console.width),
        console=console,
        refresh_per_second=_REFRESHES,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
    bar.start()
    return bar


def _render(shown: _Shown, width: int) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    innermost = shown.innermost
    if innermost is None:
        return Text()
    grid = Table.grid(padding=(0, 1))
    for _ in range(3):
        grid.add_column(no_wrap=True, overflow="ellipsis")
    drawn = ProgressBar(
        total=innermost.total,
        completed=innermost.done,
        width=10 if width < _WIDE else 24,
        pulse=innermost.total is None,
    )
    grid.add_row(Text(innermost.label, style="bold"), drawn, Text(innermost.remarks))
    return Group(Text(shown.sweep, no_wrap=True), grid) if shown.sweep else grid


_shown = _Shown()
