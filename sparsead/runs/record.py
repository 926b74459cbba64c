"""A run's record: one folder, which is either complete or absent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsead.config.outputs_folder import check_no_links
from sparsead.errors import RecordError, StorageError, warn
from sparsead.runs.checked import write_checksummed
from sparsead.runs.claim import live_claim
from sparsead.runs.files import is_folder_name
from sparsead.runs.result import check_folder, is_named_after, name_of, read_result

RESULT_FILE = "result.json"
CONFIG_FILE = "config.yaml"
_REPLACED_PREFIX = ".replaced-"

_LOWER_IS_BETTER = ("mae", "mse")
"""Main metrics of which lower is better; used only for records that do not store the direction."""


def higher_is_better(metric: str) -> bool:
    """Tell from the name of a main metric whether higher is better, if nothing else says so."""
    return metric not in _LOWER_IS_BETTER


@dataclass(frozen=True)
class RunRecord:
    """A finished run: its folder and the content of its `result.json`."""

    folder: Path
    result: dict[str, Any]

    @property
    def main_score(self) -> float:
        """The task's main metric on the validation split, which is the first recorded score."""
        score = next(iter(self.result["scores"].values()))
        return float("nan") if score is None else float(score)

    @property
    def objective(self) -> float:
        """The score by which runs are compared in a search.

        It is the main metric on the selection split if one is held out, else on the validation
        split.
        """
        chosen_by = self.result.get("selection", self.result["scores"])
        score = next(iter(chosen_by.values()))
        return float("nan") if score is None else float(score)

    @property
    def holds_out(self) -> bool:
        """Whether a part of the training set is held out, so that the objective is its score."""
        return bool(self.result.get("selection"))

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher main metric is better; for older records it depends on the name."""
        by_name = higher_is_better(next(iter(self.result["scores"])))
        return bool(self.result.get("higher_is_better", by_name))

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Read the record in a run's folder.

        Raises:
            RecordError: `result.json` is missing or is not the result of a run, or the folder has
                the name of another run.
        """
        result = read_result(folder / RESULT_FILE)
        check_folder(folder, result)
        return cls(folder, result)


def find_record(folder: Path) -> RunRecord | None:
    """Return the record in a run's folder, or None if the run is not finished.

    Raises:
        RecordError: the folder or the record in it cannot be read.
    """
    try:
        restore_replaced(folder)
        found = (folder / RESULT_FILE).is_file()
    except OSError as error:  # is_file() does not raise for a missing file or folder
        outputs = folder.parent.parent
        raise StorageError(f"outputs={outputs}: cannot be read ({error.strerror})") from error
    return RunRecord.read(folder) if found else None


def read_listed(folder: Path) -> RunRecord | None:
    """Return the record in one of the folders of `outputs/runs`; None, with a warning, if unusable.

    One run has one name there, so that a copy of its folder is not counted as a run of its own.
    """
    try:
        record = RunRecord.read(folder)
    except RecordError as error:
        warn(f"{error}; it is left out")
        return None
    if is_named_after(folder, record.result):
        return record
    warn(f"{folder}: holds the run {name_of(record.result)} under another name; it is left out")
    return None


def read_records(outputs: Path) -> Iterator[RunRecord]:
    """Yield all finished runs below `outputs`, sorted by name; unusable ones only give warnings."""
    restore_all_replaced(outputs)
    for result in sorted((outputs / "runs").glob(f"[!.]*/{RESULT_FILE}")):
        if (record := read_listed(result.parent)) is not None:
            yield record


def restore_replaced(folder: Path) -> None:
    """Put back an old record that a process set aside before it was killed.

    A record that a live process is replacing at this moment is left to that process.
    """
    replaced = replaced_folder(folder)
    if replaced.exists() and not folder.exists() and live_claim(folder) is None:
        with suppress(OSError):  # the folder is read-only, or another process restores it too
            replaced.rename(folder)


def restore_all_replaced(outputs: Path) -> None:
    """Restore every record that a killed process left set aside; see `restore_replaced`.

    Raises:
        ConfigError: a link in the outputs would lead elsewhere.
    """
    check_no_links(outputs)
    for replaced in (outputs / "runs").glob(f"{_REPLACED_PREFIX}*"):
        name = replaced.name.removeprefix(_REPLACED_PREFIX)
        if is_folder_name(name):
            restore_replaced(replaced.with_name(name))


def replaced_folder(folder: Path) -> Path:
    """Return the folder where a record is set aside while another one replaces it."""
    return folder.with_name(_REPLACED_PREFIX + folder.name)


def write_result(folder: Path, result: dict[str, Any], config_yaml: str) -> None:
    """Write `config.yaml`, and last `result.json`, which tells that the run is finished.

    Numbers that are not finite become null in JSON.
    """
    (folder / CONFIG_FILE).write_text(config_yaml, "utf-8")
    write_checksummed(folder / RESULT_FILE, _finite(result), indent=2)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
