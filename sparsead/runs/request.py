"""A run that is asked for: what it is, what names it, and where its record lands."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sparsead.config.run import RunSpec
from sparsead.config.schema import to_dataclass
from sparsead.errors import ClaimedError
from sparsead.runs.failure import record_failure
from sparsead.runs.identity import compute_identity, compute_setting
from sparsead.runs.prerequisites import check_prerequisites, find_prerequisites, resolve_sources

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class RunRequest:
    """A run and the place of its record.

    Attributes:
        spec: what the run is; it alone decides the result.
        outputs: folder below which the record lands.
        rerun: train again even when the run is recorded, and replace its record.
    """

    spec: RunSpec
    outputs: Path = Path("outputs")
    rerun: bool = False

    @classmethod
    def from_config(cls, config: DictConfig) -> RunRequest:
        """Read a composed Hydra configuration.

        Raises:
            ConfigError: a value is of the wrong type, out of range or no known choice.
        """
        spec = RunSpec.from_config(config)
        check_prerequisites(spec)
        place = to_dataclass("", _Place, {key: config[key] for key in ("outputs", "rerun")})
        return cls(spec, place.outputs, place.rerun)

    @cached_property
    def identity(self) -> str:
        """What names the run, of its files as they are when it is first asked for."""
        return compute_identity(self.spec)

    @cached_property
    def setting(self) -> str:
        """What the runs of other seeds share with it."""
        return compute_setting(self.spec)

    @property
    def folder(self) -> Path:
        """The folder that the run's record has or will have."""
        spec = self.spec
        words = (spec.backbone.name, spec.task.name, spec.adapter.name, spec.pruner.name)
        name = f"{'_'.join(words)}_{spec.sparsity:.3g}_seed{spec.seed}_{self.identity}"
        return self.outputs / "runs" / name

    def record_failure(self, error: BaseException) -> None:
        """Write down why the run failed, beside the records.

        Raises:
            OSError: it cannot be written.
        """
        record_failure(self.folder, error, identity=self.identity, config=self.spec.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values that `from_dict` reads."""
        return {"spec": self.spec.to_dict(), "outputs": str(self.outputs), "rerun": self.rerun}

    @classmethod
    def from_dict(cls, values: Any) -> RunRequest:
        """Return the request that `to_dict` gave."""
        return cls(RunSpec.from_dict(values["spec"]), Path(values["outputs"]), values["rerun"])


@dataclass
class _Place:
    outputs: Path
    rerun: bool


def do_prerequisites(
    request: RunRequest, overrides: Sequence[str], do: Callable[[RunRequest], object]
) -> RunRequest:
    """Do the runs that this one has to wait for, and return it ready to be done.

    Args:
        request: any run; one without prerequisites comes back as it is.
        overrides: that it was composed of.
        do: does and records a run, or returns where it is recorded already.

    Raises:
        ConfigError: a source is no run that this one can start from, or a task composes to none.
    """
    first = [
        RunRequest(spec, request.outputs) for spec in find_prerequisites(request.spec, overrides)
    ]
    for run in first:
        log.info("first: %s", run.folder.name)
        _do_or_await(run, do)
    folders = [run.folder for run in first]
    return replace(request, spec=resolve_sources(request.spec, request.outputs, folders))


def _do_or_await(run: RunRequest, do: Callable[[RunRequest], object]) -> None:
    while True:
        try:
            do(run)
        except ClaimedError:
            time.sleep(_POLL_SECONDS)
        else:
            return
