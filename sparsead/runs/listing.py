"""Finished and failed runs as rows, and the filters KEY=PATTERN that choose some of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from sparsead.config.choices import list_choices, suggest_override
from sparsead.config.seeds import Seeds
from sparsead.config.values.tasks import COLUMNS_OF_RUNS, METRICS
from sparsead.errors import ConfigError, unknown
from sparsead.runs.failure import read_failures
from sparsead.runs.index import read_summaries
from sparsead.runs.record import RunRecord
from sparsead.runs.result import NAMED_GROUPS
from sparsead.runs.unfinished import read_unfinished

Row = dict[str, Any]

COLUMNS = COLUMNS_OF_RUNS
_NOTHING = dict.fromkeys(COLUMNS)
STATES = ("done", "failed", "running", "interrupted")
"""What a run can be, in the order in which runs are listed."""
_NUMBERS = ("r", "score", "seconds")
_SEED = re.compile(r"\d+(-\d+)*")


@dataclass(frozen=True)
class Listed:
    """One run: what a list shows of it, and its configuration."""

    row: Row
    nested: Mapping[str, Any]
    """The configuration as a record has it."""
    record: RunRecord | None
    """The run's record without bulky parts; None if it is not done."""
    error: str | None = None
    """Why a failed run has failed."""

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The configuration by keys as on the command line; of many runs it is never asked for."""
        return flatten_config(self.nested)


@dataclass(frozen=True)
class Filter:
    """A key and its patterns; a run matches if its value matches one of them.

    The key is one of `COLUMNS` or a key of the runs' configurations, such as `protocol.epochs`.
    A pattern is a number, which matches equal numbers however they are written, or a text with the
    wildcards `*`, `?` and `[…]`. A sparsity may be given as a share or in percent.
    """

    key: str
    patterns: tuple[str, ...]

    @classmethod
    def read(cls, given: str) -> Filter:
        """Read a filter such as `task=mrpc,rte`.

        Raises:
            ConfigError: it is malformed, or no value could match it.
        """
        key, equals, patterns = given.partition("=")
        if not equals:
            meant = suggest_override(given)
            hint = ", such as state=done" if meant is None else f"; did you mean {meant}?"
            raise ConfigError(f"{given}: is not a filter of the form KEY=PATTERN{hint}")
        if re.search(r"\[[^\]]*(,|$)", patterns):
            raise ConfigError(f"{given}: give several values as {key}=1,2, without brackets")
        wanted = cls(key, tuple(patterns.split(",")))
        for pattern in wanted.patterns:
            wanted._check(pattern)
        return wanted

    def _check(self, pattern: str) -> None:
        if self.key == "state" and not any(fnmatchcase(state, pattern) for state in STATES):
            raise ConfigError(unknown("state", pattern, STATES))
        if self.key in _NUMBERS or self.key == "sparsity":
            _check_number(self.key, pattern)
        if _is_pattern(pattern) or _number(pattern) is not None:
            return
        if self.key == "seed" and not _SEED.fullmatch(pattern):
            raise ConfigError(f"seed={pattern}: must be a seed, or a pattern such as [12] or *")

    def matches(self, run: Listed) -> bool:
        """Tell whether a run matches."""
        return any(self._matches(run, pattern) for pattern in self.patterns)

    def _matches(self, run: Listed, pattern: str) -> bool:
        if self.key == "sparsity" and _matches_share(run.config["sparsity"], pattern):
            return True
        if self.key == "task" and _matches(run.config.get("task.family") or "", pattern):
            return True  # the user's own data, which is named after its file
        value = run.row[self.key] if self.key in COLUMNS else run.config.get(self.key)
        return _matches(value, pattern)


def list_runs(outputs: Path) -> list[Listed]:
    """Return all runs below `outputs`: done, failed, and then the unfinished ones."""
    done = [_done(record) for record in read_summaries(outputs)]
    failed = [
        _asked(path, found["config"], "failed", found["error"])
        for path, found in read_failures(outputs)
    ]
    begun = [_asked(run.folder, run.config, run.state) for run in read_unfinished(outputs)]
    running = [run for run in begun if run.row["state"] == "running"]
    stopped = [run for run in begun if run.row["state"] == "interrupted"]
    # A run may have several of them: it is trained again, or went on after it had failed.
    first: dict[str, Listed] = {}
    for run in (*running, *done, *failed, *stopped):
        first.setdefault(run.row["run"], run)
    return sorted(first.values(), key=lambda run: STATES.index(run.row["state"]))


def choose_runs(runs: Sequence[Listed], filters: Sequence[Filter]) -> list[Listed]:
    """Return the runs that match every filter.

    Raises:
        ConfigError: no run and no choice in conf/ has a filter's key or a name that it asks for;
            probably it is misspelt.
    """
    for wanted in filters:
        _check_known(wanted, runs)
    return [run for run in runs if all(wanted.matches(run) for wanted in filters)]


@contextmanager
def open_place(outputs: Path, archive: Path | None) -> Iterator[Path]:
    """Yield the folder of the runs: `outputs`, or that of the records of an archive.

    Raises:
        RecordError: the archive cannot be read, or a record in it is damaged.
    """
    if archive is None:
        yield outputs
        return
    from sparsead.runs.archive import unpacked

    with unpacked(archive) as folder:
        yield folder


def find_finished(filters: Sequence[str], place: Path) -> list[RunRecord]:
    """Return the finished runs below `place` that match filters, without bulky parts.

    Args:
        filters: each of the form KEY=PATTERN; none choose all runs.
        place: folder of the runs.

    Raises:
        ConfigError: a filter is malformed.
    """
    wanted = [Filter.read(given) for given in filters]
    return [run.record for run in choose_runs(list_runs(place), wanted) if run.record]


def shorten_name(run: str) -> str:
    """Return the first digits of a run's identity, by which every verb finds it.

    Eight of them are enough: in practice no two runs of a folder share so many.
    """
    return run.rpartition("_")[2][:8]


def flatten(values: Mapping[str, Any], joint: str = ".", prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one flat mapping, whose keys are joined by `joint`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flatten(value, joint, f"{prefix}{key}{joint}")
        else:
            found[f"{prefix}{key}"] = value
    return found


def flatten_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's configuration with its keys named as on the command line."""
    return {key.replace(".options.", "."): value for key, value in flatten(config).items()}


def _done(record: RunRecord) -> Listed:
    result = record.result
    metric, score = next(iter(result["scores"].items()))
    measured = {
        "run": record.folder.name,
        "state": "done",
        "sparsity": round(100 * result["sparsity"]["realised"], 2),
        "metric": metric,
        "score": None if score is None else round(100 * score, 2),
        "seconds": round(sum(result["seconds"].values()), 1),
    }
    config = result["config"]
    return Listed(_NOTHING | _choices(config) | measured, config, record)


def _asked(folder: Path, config: Mapping[str, Any], state: str, error: str | None = None) -> Listed:
    sparsity = round(100 * config["sparsity"], 2)
    asked = {"run": folder.name, "state": state, "sparsity": sparsity}
    return Listed(_NOTHING | _choices(config) | asked, config, None, error)


def _choices(config: Mapping[str, Any]) -> Row:
    names = {group: config[group]["name"] for group in NAMED_GROUPS}
    seeds = Seeds.read(config)
    seed = str(seeds) if seeds.shared is None else seeds.shared
    return names | {"r": config["adapter"]["options"].get("bottleneck"), "seed": seed}


def _check_known(wanted: Filter, runs: Sequence[Listed]) -> None:
    key = wanted.key
    if key not in COLUMNS and not any(key in run.config for run in runs):
        keys = dict.fromkeys(key for run in runs for key in run.config)
        message = unknown("filter", key, [*COLUMNS, *keys]).partition(" (allowed")[0]
        raise ConfigError(
            f"{message} (allowed: {', '.join(COLUMNS)}, or a key of a run such as protocol.epochs)"
        )
    values = [run.config[key] for run in runs if key not in COLUMNS and key in run.config]
    if values and all(_is_number(value) for value in values):
        for pattern in wanted.patterns:
            _check_number(key, pattern)
        return
    if key in NAMED_GROUPS:
        names = {*list_choices(key), *(str(run.row[key]) for run in runs)}
    elif key == "metric":
        names = {*chain.from_iterable(METRICS.values()), *(str(run.row[key]) for run in runs)}
    else:
        return
    for pattern in wanted.patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(unknown(key, pattern, names))


def _matches(value: Any, pattern: str) -> bool:
    if isinstance(value, bool) or value is None:
        return fnmatchcase({True: "true", False: "false", None: "null"}[value], pattern.lower())
    number = _number(pattern)
    if isinstance(value, int | float) and number is not None:
        return math.isclose(value, number, rel_tol=1e-9)
    return fnmatchcase(str(value), pattern)


def _matches_share(share: float, pattern: str) -> bool:
    """Tell whether a sparsity was asked for as this share, or as this number of percent."""
    number = _number(pattern)
    return number is not None and any(
        math.isclose(share, wanted, rel_tol=1e-9, abs_tol=1e-12)
        for wanted in (number, number / 100)
    )


def _number(pattern: str) -> float | None:
    try:
        number = float(pattern)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in pattern else None


def _check_number(key: str, pattern: str) -> None:
    """Refuse what no number could match."""
    lacking = key in _NUMBERS and pattern == "null"  # a failed run has no score
    if not _is_pattern(pattern) and _number(pattern) is None and not lacking:
        raise ConfigError(f"{key}={pattern}: must be a number, or a pattern such as 4*")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pattern(text: str) -> bool:
    return any(character in text for character in "*?[")
