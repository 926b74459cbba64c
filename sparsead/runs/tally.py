"""What became of each run of a sweep, whichever process trained it.

Every job of a sweep appends one line to a file in the sweep's own folder. The process that started
the sweep counts them at the end; while it runs the jobs itself, it also tells how far it is.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from typing_extensions import TypedDict

from sparsead.config.launchers import describe_slurm, start_no_idle_processes
from sparsead.config.sweeps import is_basic
from sparsead.progress import format_seconds, print_line
from sparsead.runs.checked import check_type
from sparsead.runs.files import write_atomically
from sparsead.runs.secrets import hide_secrets

_FILE = "runs.jsonl"
_HYDRAS_FILE = "multirun.yaml"
"""The whole configuration of the sweep, as Hydra writes it beside that file."""


class Entry(TypedDict):
    """A line of the file: the run's folder, its state, and why it failed."""

    folder: str
    state: Literal["done", "failed"]
    reason: str


@dataclass
class Sweep:
    """The sweep that this process has started.

    Attributes:
        folder: the sweep's own folder; None before it has begun.
        runs: number of its runs; None if the sweeper chooses them while it runs.
        began: when it began, on the clock `time.monotonic`.
    """

    folder: Path | None = None
    runs: int | None = None
    began: float = 0.0

    def describe(self, number: int) -> str:
        """Return a line such as "run 3 of 9, 1 failed, about 12 min left for all".

        Args:
            number: of the run that begins now, from 1.
        """
        failed = sum(entry["state"] == "failed" for entry in self.entries())
        parts = [f"run {number}" if self.runs is None else f"run {number} of {self.runs}"]
        parts += [f"{failed} failed"] if failed else []
        if self.runs is not None and number > 1:
            each = (time.monotonic() - self.began) / (number - 1)
            parts.append(f"about {format_seconds(each * (self.runs - number + 1))} left for all")
        return ", ".join(parts)

    def entries(self) -> list[Entry]:
        """Return what became of the runs so far; of a run that several jobs name, only the last.

        A line that cannot be read, such as one that a full disk has cut off, is left out: it says
        nothing about the other runs, which go on.
        """
        found: list[Entry] = []
        if self.folder is None:
            return found
        with suppress(OSError):  # no run has ended yet, or the folder is gone
            for line in (self.folder / _FILE).read_bytes().split(b"\n"):
                with suppress(ValueError, RecursionError):
                    found.append(check_type(json.loads(line), Entry))
        return [*{entry["folder"]: entry for entry in found}.values()]


STARTED = Sweep()
"""The sweep of this process; its folder is None in any other process."""


class NoteSweep(Callback):
    """A Hydra callback that notes the sweep that this process starts."""

    def on_multirun_start(self, config: DictConfig, runs: int | None = None, **_: Any) -> None:
        """Note where the sweep writes, how many runs it has, and when it began.

        Args:
            config: the sweep's configuration.
            runs: number of its runs, if the configuration does not say it.
        """
        STARTED.folder = Path(str(config.hydra.sweep.dir))
        STARTED.runs = _count_runs(config) if runs is None else runs
        STARTED.began = time.monotonic()
        start_no_idle_processes(config.hydra.launcher, STARTED.runs)
        asked = describe_slurm(config.hydra.launcher, STARTED.runs)
        if asked is not None:
            print_line(asked)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Hide the secrets in what Hydra has written about the sweep, before its first job."""
        job = config.hydra.job
        if not OmegaConf.is_missing(job, "num") and job.num == 0:
            _hide_in(Path(str(config.hydra.sweep.dir)) / _HYDRAS_FILE)


def note_run(sweep_folder: Path, run_folder: Path, error: BaseException | None) -> None:
    """Append a line on a run that has ended; a full disk or a read-only one is no error of it.

    Args:
        sweep_folder: the sweep's own folder.
        run_folder: folder of the run's record.
        error: why it failed; None if it is done.
    """
    reason = "" if error is None else (str(error).splitlines() or [""])[0]
    kind = "" if error is None else f"{type(error).__name__}: "
    state: Literal["done", "failed"] = "done" if error is None else "failed"
    entry = Entry(folder=str(run_folder), state=state, reason=hide_secrets(f"{kind}{reason}"))
    try:
        sweep_folder.mkdir(parents=True, exist_ok=True)
        with (sweep_folder / _FILE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
    except OSError:
        return


def _hide_in(file: Path) -> None:
    with suppress(OSError):  # there is no sweep, or its folder is read-only
        values = OmegaConf.to_container(OmegaConf.load(file))
        hidden = hide_secrets(values)
        if hidden != values:
            write_atomically(file, OmegaConf.to_yaml(OmegaConf.create(hidden)))


def _count_runs(config: DictConfig) -> int | None:
    """Return the number of runs of a sweep over lists of values; None for other sweepers."""
    if not is_basic(config.hydra.sweeper):
        return None
    swept = OmegaConf.to_container(config.hydra.sweeper.get("params") or OmegaConf.create({}))
    assert isinstance(swept, dict)
    words = [f"{key!s}={value}" for key, value in swept.items()]
    words += [str(word) for word in config.hydra.overrides.task]
    try:
        overrides = OverridesParser.create().parse_overrides(words)
        (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    except HydraException:
        return None
    return len(jobs)
