"""`RunRequest`: a run to train, with its identity and the location of its record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig

from sparsead.config.outputs_folder import check_no_links
from sparsead.config.run import RunSpec
from sparsead.config.schema import expand_user, read_group, to_dataclass
from sparsead.config.tracking import TrackingSpec
from sparsead.errors import ClaimedError, ConfigError, StorageError
from sparsead.runs.claim import claimed
from sparsead.runs.failure import record_failure
from sparsead.runs.identity import compute_identity, compute_setting
from sparsead.runs.options import check_options
from sparsead.runs.prerequisites import check_prerequisites, find_prerequisites, resolve_sources
from sparsead.runs.record import RunRecord, find_record
from sparsead.runs.result import NAMED_GROUPS, name_run
from sparsead.runs.sources import check_unchanged, pin_revisions

log = logging.getLogger(__name__)

_AUTO = "auto"
_MOST_THREADS = 1024
_LONGEST_NAME = 229
"""In bytes: the 255 of file systems, less 26 for what is added to an unfinished run's name."""
_POLL_SECONDS = 1.0

Result = TypeVar("Result")


@dataclass(frozen=True)
class RunRequest:
    """A run and the location of its record.

    Attributes:
        spec: the run's configuration; it alone determines the result.
        outputs: folder below which the record is written.
        rerun: train again even if the run is recorded, and replace its record.
        threads: the number of threads that it computes with on a CPU; None chooses it.
        tracking: the tracker that shows the run while it trains.
    """

    spec: RunSpec
    outputs: Path = Path("outputs")
    rerun: bool = False
    threads: int | None = None
    tracking: TrackingSpec = field(default_factory=lambda: TrackingSpec("none"))

    @classmethod
    def from_config(cls, config: DictConfig) -> RunRequest:
        """Read a composed Hydra configuration.

        Raises:
            ConfigError: a value has the wrong type, is out of range or is not a known choice.
            SourceError: the commit of a revision that it names cannot be told.
        """
        spec = pin_revisions(RunSpec.from_config(config))
        check_options(spec)
        check_prerequisites(spec)
        _check_length(spec)
        own = {key: config[key] for key in ("outputs", "rerun", "threads")}
        if own["outputs"] == "":
            raise ConfigError("outputs=: is empty; name a folder")
        place = to_dataclass("", _Location, own)
        threads = None if place.threads == _AUTO else int(place.threads)
        tracking = read_group(config, "tracking", TrackingSpec)
        outputs = Path(expand_user(str(place.outputs)))
        check_no_links(outputs)
        return cls(spec, outputs, place.rerun, threads, tracking)

    @cached_property
    def identity(self) -> str:
        """The run's identity; it hashes local files once, when it is first accessed."""
        return compute_identity(self.spec)

    @cached_property
    def setting(self) -> str:
        """The run's setting: a hash that runs of the same setting but other seeds share."""
        return compute_setting(self.spec)

    @property
    def folder(self) -> Path:
        """The folder of the run's record, which need not exist yet."""
        spec = self.spec
        name = name_run(_list_names(spec), spec.sparsity, spec.seeds, self.identity)
        return self.outputs / "runs" / name

    def refuse_rerun(self, whole: str) -> None:
        """Refuse `rerun=true` in a command that only trains missing runs, such as `reproduce`.

        Raises:
            ConfigError: the run is to be trained again although it is recorded.
        """
        if self.rerun:
            raise ConfigError(
                f"rerun=true: {whole} trains only the runs that it lacks; leave it out, and delete "
                "the runs that are to be trained again with sparsead runs delete FILTER"
            )

    def record_failure(self, error: BaseException) -> None:
        """Record why the run failed, in a file beside the records.

        Nothing is recorded if another process is working on the run or has recorded it by now.

        Raises:
            StorageError: the file cannot be written.
        """
        folder = self.folder
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(ClaimedError), claimed(folder):
                if self.rerun or not folder.exists():
                    config = self.spec.to_dict()
                    record_failure(folder, error, identity=self.identity, config=config)
        except OSError as reason:
            raise StorageError(f"outputs={self.outputs}: cannot be written ({reason})") from error

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values that `from_dict` reads."""
        place = {"outputs": str(self.outputs), "rerun": self.rerun, "threads": self.threads}
        return {"spec": self.spec.to_dict(), **place, "tracking": asdict(self.tracking)}

    @classmethod
    def from_dict(cls, values: Any) -> RunRequest:
        """Return the request from the values that `to_dict` returned."""
        spec, outputs = RunSpec.from_dict(values["spec"]), Path(values["outputs"])
        tracking = TrackingSpec(**values["tracking"])
        return cls(spec, outputs, values["rerun"], values["threads"], tracking)


def _list_names(spec: RunSpec) -> list[str]:
    return [getattr(spec, group).name for group in NAMED_GROUPS]


def _check_length(spec: RunSpec) -> None:
    """Refuse names of which the name of the run's folder would be too long.

    Raises:
        ConfigError: the message names the longest of them.
    """
    names = _list_names(spec)
    length = len(name_run(names, spec.sparsity, spec.seeds, identity=16 * "0").encode())
    if length > _LONGEST_NAME:
        named = zip(NAMED_GROUPS, names, strict=True)
        group, name = max(named, key=lambda each: len(each[1].encode()))
        raise ConfigError(
            f"{group}.name={name}: the name of the run's folder would have {length} bytes, and may "
            f"have {_LONGEST_NAME}; give a shorter name"
        )


@dataclass
class _Location:
    outputs: Path
    rerun: bool
    threads: str

    def __post_init__(self) -> None:
        outputs = Path(expand_user(str(self.outputs)))
        try:
            is_file = outputs.exists() and not outputs.is_dir()
        except OSError as error:  # a name that is too long, or a folder that may not be entered
            reason = f"cannot be read ({error.strerror})"
            raise ConfigError(f"outputs={self.outputs}: {reason}") from error
        if is_file:
            raise ConfigError(f"outputs={self.outputs}: is a file; name a folder")
        number = str(self.threads)
        if number != _AUTO and not (number.isdecimal() and 1 <= int(number) <= _MOST_THREADS):
            raise ConfigError(
                f"threads={number}: must be auto or a whole number from 1 to {_MOST_THREADS}"
            )


def find_recorded(request: RunRequest) -> RunRecord | None:
    """Return the record of a run; None if it is not recorded, or is to be trained again.

    Raises:
        RecordError: the record cannot be read.
        ConfigError: the hub has other weights or rows than those of the record.
    """
    record = None if request.rerun else find_record(request.folder)
    if record is not None:
        check_unchanged(request.spec, record.result)
    return record


def do_prerequisites(
    request: RunRequest, overrides: Sequence[str], do: Callable[[RunRequest], object]
) -> RunRequest:
    """Train the prerequisites of a run, and return the run with them as its sources.

    Args:
        request: any run; one without prerequisites and sources is returned unchanged.
        overrides: the overrides that it was composed from.
        do: trains and records a run, unless it is recorded already.

    Raises:
        ConfigError: the run cannot start from one of its sources, or the overrides are wrong for
            one of the prerequisites.
    """
    first = [
        RunRequest(spec, request.outputs, threads=request.threads, tracking=request.tracking)
        for spec in find_prerequisites(request.spec, overrides)
    ]
    for run in first:
        log.info("prerequisite: %s", run.folder.name)
        do_or_await(run, do)
    folders = [run.folder for run in first]
    return replace(request, spec=resolve_sources(request.spec, request.outputs, folders))


def do_or_await(run: RunRequest, do: Callable[[RunRequest], Result]) -> Result:
    """Do a run and return what `do` returns, as soon as no other process works on the run.

    Args:
        run: the run.
        do: trains and records a run, unless it is recorded already.
    """
    told = False
    while True:
        try:
            return do(run)
        except ClaimedError as error:
            if not told:
                log.info("%s; waiting for it", error)
            told = True
            time.sleep(_POLL_SECONDS)
