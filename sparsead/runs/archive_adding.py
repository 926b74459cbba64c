"""Add the records of an archive to the runs of a folder, so that none of them is trained again."""

from __future__ import annotations

import shutil
from pathlib import Path

from omegaconf import OmegaConf

from sparsead.config.outputs_folder import check_no_links
from sparsead.errors import (
    AlreadyRecordedError,
    ClaimedError,
    RecordError,
    StorageError,
    TakenOverError,
    warn,
)
from sparsead.errors.translation import translate_errors
from sparsead.runs.archive import list_folders, read_own, unpacked
from sparsead.runs.failure import list_failed
from sparsead.runs.files import remove
from sparsead.runs.record import CONFIG_FILE, RESULT_FILE, RunRecord
from sparsead.runs.staging import staged


def add_missing(file: Path, outputs: Path) -> tuple[int, int]:
    """Put the records of an archive that `outputs` lacks beside its own, without weights.

    Failures are left out: what failed on another machine need not fail here. So is a record whose
    run is being trained here, which is said. A record that is damaged here counts as lacking.

    Returns:
        The number of records that were added, and of failed runs in the archive.

    Raises:
        ConfigError: a link in the outputs would lead elsewhere.
        RecordError: the file is no archive, or a record in it is malformed.
        StorageError: `outputs` cannot be written.
    """
    check_no_links(outputs)
    added = 0
    with unpacked(file) as place:
        for folder in list_folders(place):
            added += _add(folder, outputs / "runs" / folder.name)
        failed = len(list_failed(place))
    return added, failed


def _add(source: Path, folder: Path) -> bool:
    """Add a record, unless there is one, or its run is being trained; return whether it was.

    What an interrupted run has left is removed, so that the record has the archive's files alone.
    A damaged record is replaced, weights included, because it counts as no run.
    """
    try:
        with staged(folder, replace=True) as staging:
            damage = _find_damage(folder)  # while no other process can record the run
            for path in staging.iterdir():
                remove(path)
            shutil.copytree(source, staging, dirs_exist_ok=True)
            _write_config(RunRecord.read(source), staging)
    except TakenOverError:
        raise
    except ClaimedError as error:
        warn(f"{error}; it is left out")
        return False
    except AlreadyRecordedError:
        return False
    if damage is not None:
        warn(f"{damage}; the archive's record, which is whole, has replaced it")
    return True


def _find_damage(folder: Path) -> RecordError | None:
    """Return why a folder's record counts as no run; None if there is no folder.

    Raises:
        AlreadyRecordedError: the record is readable.
        StorageError: nobody can tell, because its file cannot be read.
    """
    if not folder.exists():
        return None
    try:
        _check_accessible(folder / RESULT_FILE)
        read_own(folder)
    except StorageError:
        raise
    except RecordError as damage:
        return damage
    raise AlreadyRecordedError(f"{folder}: is recorded here")


def _check_accessible(file: Path) -> None:
    """Refuse a file that may be whole, though the system does not let it be read.

    Raises:
        StorageError: it is such a file; one that is missing or a folder passes.
    """
    try:
        with file.open("rb"):
            return
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return
    except OSError as error:
        raise StorageError(f"{file}: cannot be read ({error.strerror})") from error


def _write_config(record: RunRecord, folder: Path) -> None:
    """Write what a person reads of a run's configuration from the record, whose result is checked.

    The archive's own `config.yaml` has no checksum, and may say anything.
    """
    place = f"{record.folder.name}/{RESULT_FILE}"
    with translate_errors(lambda reason: RecordError(f"{place}: config: is no YAML ({reason})")):
        content = OmegaConf.to_yaml(record.result["config"])
    (folder / CONFIG_FILE).write_text(content, "utf-8")
