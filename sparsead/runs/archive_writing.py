"""Write an archive of records; see `sparsead.runs.archive`, which reads it.

An archive is never replaced by one that has less: the archive may be the only copy of a record.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from sparsead.errors import RecordError, StorageError, warn
from sparsead.errors.display import pluralize
from sparsead.errors.translation import translate_errors
from sparsead.runs.archive import FILE_OF_RECORD, check_record, list_source_runs, open_archive
from sparsead.runs.failure import failure_file, read_failure, run_of_failure
from sparsead.runs.files import write_atomically
from sparsead.runs.record import CONFIG_FILE


def pack(outputs: Path, names: Iterable[str], file: Path) -> list[str]:
    """Write finished and failed runs to a Parquet file; the same runs give the same bytes.

    Args:
        outputs: folder of the runs.
        names: the names of the runs' folders.
        file: the archive to write.

    Returns:
        The names of the runs that packed ones start from and that are not packed themselves.

    Raises:
        RecordError: there are no runs, one of them is damaged, or the file is there and holds
            something that would be lost.
        StorageError: a file cannot be read or written.
    """
    import pyarrow
    from pyarrow import parquet

    runs = outputs / "runs"
    names = sorted(names)
    files = [path for name in names for path in _list_files(runs / name)]
    if not files:
        raise RecordError(f"{outputs}: has no such runs to pack")
    sources = {source for name in names for source in _list_sources(runs / name)}
    paths = [str(path.relative_to(runs)) for path in files]
    if file.exists():
        _check_nothing_is_lost(file, paths)
    sink = pyarrow.BufferOutputStream()
    try:
        content = [path.read_bytes() for path in files]
        table = pyarrow.table({"path": paths, "content": content})
        parquet.write_table(table, sink, compression="zstd")
        write_atomically(file, sink.getvalue().to_pybytes())
    except OSError as error:
        raise StorageError(f"{file}: cannot be written ({error})") from error
    return sorted(sources.difference(names))


def _list_sources(folder: Path) -> list[str]:
    """Return the names of the runs that a finished or failed run starts from.

    Raises:
        RecordError: the record or the failure is damaged.
    """
    result = check_record(folder).result if folder.is_dir() else read_failure(folder)
    try:
        return list_source_runs(folder.name, result["config"])
    except RecordError as error:
        warn(f"{error}; a table that reads the archive leaves it out")
        return []


def _check_nothing_is_lost(file: Path, paths: Collection[str]) -> None:
    """Refuse to replace an archive by one that lacks runs or files of it, or any other file.

    What a person reads of the configuration is not missed: it is written from the result. Nor is
    the failure of a run that was finished later.

    Args:
        file: the archive.
        paths: the paths of the files that the new one will have.

    Raises:
        RecordError: the file is no archive, or it has something that is not among `paths`.
    """
    with translate_errors(
        lambda reason: RecordError(f"{file}: exists and is no archive of records ({reason})")
    ):
        batches = open_archive(file).batches(["path"])
        archived = [str(path) for batch in batches for path in batch["path"].to_pylist()]
    remedy = "choose another file, or delete this one"
    lost = set(map(_run_of, archived)).difference(map(_run_of, paths))
    if lost:
        raise RecordError(
            f"{file}: has {pluralize(len(lost), 'run')} that would be lost, such as {min(lost)}; "
            f"{remedy}"
        )
    lost = {path for path in archived if _is_missed(path)}.difference(paths)
    if lost:
        raise RecordError(
            f"{file}: has {pluralize(len(lost), 'file')} that would be lost, because the runs to "
            f"pack do not have them, such as {min(lost)}; {remedy}"
        )


def _is_missed(path: str) -> bool:
    """Tell whether a file of an archive is a result or a file of predictions."""
    return "/" in path and Path(path).name != CONFIG_FILE


def _run_of(path: str) -> str:
    """Return the name of the run to which a file belongs, by its path below the runs' folder."""
    return path.partition("/")[0] if "/" in path else run_of_failure(Path(path))


def _list_files(folder: Path) -> list[Path]:
    """Return the files of a record except weights, or the file of the run's failure.

    A link is none of them: in somebody else's record it may lead to any file of this machine.
    """
    if not folder.is_dir():
        return [failure_file(folder)]
    files = (path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    return sorted(path for path in files if re.fullmatch(FILE_OF_RECORD, path.name))
