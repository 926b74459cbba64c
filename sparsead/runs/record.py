"""A run's record: one folder, which is either complete or absent."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EACCES, EDQUOT, ENOSPC, EPERM, EROFS
from os import strerror
from pathlib import Path
from typing import Any

from sparsead.errors import AlreadyRecordedError, RecordError, StorageError, warn
from sparsead.runs.claim import Claim, check_owned, claimed, newest_claim
from sparsead.runs.failure import failure_file
from sparsead.runs.result import check_folder, is_named_after, name_of, read_result

RESULT_FILE = "result.json"
CONFIG_FILE = "config.yaml"
_STAGING_PREFIX = ".partial-"
_FULL_BYTES = 1 << 20
_STORAGE = (ENOSPC, EDQUOT, EROFS, EACCES, EPERM)

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


def staging_folder(folder: Path) -> Path:
    """Return the staging folder in which the record `folder` is written until it is complete."""
    return folder.with_name(_STAGING_PREFIX + folder.name)


def find_record(folder: Path) -> RunRecord | None:
    """Return the record in a run's folder, or None if the run is not finished.

    Raises:
        RecordError: the folder or the record in it cannot be read.
    """
    try:
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
    for result in sorted((outputs / "runs").glob(f"[!.]*/{RESULT_FILE}")):
        if (record := read_listed(result.parent)) is not None:
            yield record


@contextmanager
def staged(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Claim a run, yield a staging folder for its record, and finally rename it to `folder`.

    A failure removes the staging folder, unless the run can be resumed from it: it existed before,
    or contains a checkpoint. Ctrl-C and a killed process leave it as it is.

    Args:
        folder: folder of the record.
        replace: replace an existing record.

    Raises:
        AlreadyRecordedError: the run is recorded already, and `replace` is false.
        ClaimedError: another process is working on this run.
        StorageError: the outputs folder cannot be written, or its disk is full.
    """
    created = [path for path in (folder.parent, *folder.parent.parents) if not path.exists()]
    try:
        _make(folder.parent)
        with claimed(folder) as claim, _cleaned(folder, claim, replace=replace) as staging:
            yield staging
            _move_into_place(staging, folder, claim)
    except OSError as error:
        if error.errno not in _STORAGE:
            raise  # an error of the run itself, such as an unreadable data file
        raise StorageError(_say_why(folder, error)) from error
    except Exception as error:
        if _is_full(folder.parent):  # safetensors and torch raise their own errors on a full disk
            raise StorageError(_say_why(folder, OSError(ENOSPC, strerror(ENOSPC)))) from error
        raise
    finally:
        _remove_empty(created)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(_say_why(folder / "run", error)) from error


@contextmanager
def _cleaned(folder: Path, claim: Claim, *, replace: bool) -> Iterator[Path]:
    """Yield the staging folder; on an error remove it, unless the run can be resumed from it."""
    _finish_replacing(folder)
    if folder.exists() and not replace:
        raise AlreadyRecordedError(f"{folder}: another process has just finished this run")
    staging = staging_folder(folder)
    fresh = not staging.exists()
    staging.mkdir(exist_ok=True)
    try:
        yield staging
    except Exception:
        if fresh and newest_claim(folder) == claim and not any(staging.glob("checkpoint-*")):
            shutil.rmtree(staging, ignore_errors=True)
        raise


def _say_why(folder: Path, error: OSError) -> str:
    reason = "its disk is full" if error.errno in (ENOSPC, EDQUOT) else "cannot be written"
    where = f"outputs={folder.parent.parent}"
    return f"{where}: {reason} ({error}); records are intact; run the same command again to resume"


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _FULL_BYTES
    except OSError:
        return False


def discard(folder: Path) -> None:
    """Remove the staging folder of an unfinished run, with its checkpoints.

    Raises:
        ClaimedError: another process is working on this run.
    """
    staging = staging_folder(folder)
    if staging.exists():
        with claimed(folder):
            shutil.rmtree(staging, ignore_errors=True)


def write_result(folder: Path, result: dict[str, Any], config_yaml: str) -> None:
    """Write `result.json` and `config.yaml`; numbers that are not finite become null in JSON."""
    text = json.dumps(_finite(result), indent=2, allow_nan=False)
    (folder / RESULT_FILE).write_text(text + "\n", "utf-8")
    (folder / CONFIG_FILE).write_text(config_yaml, "utf-8")


def _move_into_place(staging: Path, folder: Path, claim: Claim) -> None:
    check_owned(folder, claim)
    if folder.exists():
        os.replace(folder, _replaced(folder))
    os.replace(staging, folder)
    failure_file(folder).unlink(missing_ok=True)
    shutil.rmtree(_replaced(folder), ignore_errors=True)


def _finish_replacing(folder: Path) -> None:
    """Restore the old record if a process was killed between the two renames of a replacement."""
    replaced = _replaced(folder)
    if replaced.exists() and not folder.exists():
        os.replace(replaced, folder)
    shutil.rmtree(replaced, ignore_errors=True)


def _replaced(folder: Path) -> Path:
    return folder.with_name(f".replaced-{folder.name}")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
