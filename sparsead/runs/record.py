"""A run's record: one folder, which is either complete or absent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsead.config.groups import SPLITS
from sparsead.config.outputs_folder import check_no_links
from sparsead.config.values.tasks import score_name
from sparsead.errors import RecordError, StorageError, warn
from sparsead.runs.checked import write_checksummed
from sparsead.runs.claim import live_claim
from sparsead.runs.files import is_folder_name
from sparsead.runs.result import SHARES, check_folder, is_named_after, name_of, read_result

RESULT_FILE = "result.json"
CONFIG_FILE = "config.yaml"
_REPLACED_PREFIX = ".replaced-"

_LOWER_IS_BETTER = ("mae", "mse")
"""The project's metrics, of which the name tells which values are better."""


def known_direction(metric: str) -> bool | None:
    """Return whether a higher value of a metric of the project is better; None of other metrics."""
    if metric in SHARES:
        return True
    return False if metric in _LOWER_IS_BETTER else None


def without_split(score: str, splits: Iterable[str] = ()) -> str:
    """Return the name of a score without the split that may stand before it: `test_mae`.

    Args:
        score: the name.
        splits: the splits of the run, which may have some besides train, validation and test.
    """
    for split in sorted({*SPLITS, *splits}, key=len, reverse=True):  # of a and a_b first a_b
        if score.startswith(f"{split}_"):
            return score.removeprefix(f"{split}_")
    return score


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
        """Whether a higher main score is better.

        Raises:
            RecordError: nothing tells.
        """
        return self.prefers_higher(next(iter(self.result["scores"])))

    def prefers_higher(self, score: str) -> bool:
        """Tell whether a higher value of a score is better.

        Older records say it of their main score at most. Of the others only the project's metrics
        tell it, by their names.

        Raises:
            RecordError: nothing tells.
        """
        directions = self.result.get("directions", {})
        if score in directions:
            return bool(directions[score] == "higher")
        splits = {*self.result.get("data", ()), *self.result.get("predictions", ())}
        metric = without_split(score, splits)
        main = next(iter(self.result["scores"]), "")
        if main in (score, metric) and "higher_is_better" in self.result:
            return bool(self.result["higher_is_better"])
        found = None if metric in self._own_metrics else known_direction(metric)
        if found is None:
            raise RecordError(
                f"{self.folder}: does not say whether a higher or a lower {score} is better; state "
                "it as higher_is_better of your metric or task, and train it again with rerun=true"
            )
        return found

    @property
    def _own_metrics(self) -> list[str]:
        """Names of the scores that metrics of the user's own compute, whatever they are called."""
        options = self.result.get("config", {}).get("task", {}).get("options", {})
        metrics = options.get("metrics")
        named = map(str, metrics if isinstance(metrics, list) else ())
        return [score_name(metric) for metric in named if "." in metric]

    @property
    def backbone_commit(self) -> str | None:
        """The commit of the hub's repository from which the backbone's weights were read."""
        sources = self.result.get("sources", {})
        return sources["backbone"].get("commit") if "backbone" in sources else None

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
