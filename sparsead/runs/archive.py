"""Archives: records packed into one Parquet file, to be published and tabulated elsewhere.

An archive has one row for each file of a record, except weights, and for each recorded failure:
its path below the folder of the runs, and its content. Somebody else may have written it: nothing
but the files that records have is unpacked, and no more than a multiple of the archive's own size.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sparsead.config.run import RunSpec, drop_local_files
from sparsead.config.schema import SPLIT_NAME
from sparsead.errors import (
    RecordError,
    SparseadError,
    StorageError,
    warn,
)
from sparsead.errors.translation import translate_errors
from sparsead.runs.failure import list_failed, read_failure, read_failures
from sparsead.runs.identity import compute_recipe
from sparsead.runs.parquet_files import BoundedParquet
from sparsead.runs.predictions import check_predictions
from sparsead.runs.prerequisites import list_sources
from sparsead.runs.record import RunRecord, read_records
from sparsead.runs.result import is_named_after, is_run_name, name_of
from sparsead.runs.states import Done, Failed, Missing, State

_NAME = r"[\w-][\w.-]{0,249}"
FILE_OF_RECORD = rf"result\.json|config\.yaml|predictions-{SPLIT_NAME}\.parquet"
"""The name of a file of a record that an archive may hold, as a regular expression."""
_FAILED = rf"failed-{_NAME}\.json"
_PATH = re.compile(rf"(?!{_FAILED}/){_NAME}/({FILE_OF_RECORD})|{_FAILED}")
_LONGEST_NAME = 255
"""Bytes that file systems allow for the name of a file or folder."""
_RUNS_OF_A_PAGE = 4096
"""So many recipes are kept, because a page has many tables of the same runs."""
_COLUMNS = {"path": "string", "content": "binary"}


class _KeptArchives:
    """The archives that stay unpacked, with their runs as they were first read."""

    def __init__(self, folders: ExitStack) -> None:
        """Unpack into folders that are removed with `folders`."""
        self.unpack = cache(lambda file: folders.enter_context(_unpacked_anew(file)))
        self.read_runs = cache(ArchivedRuns)


_KEPT: ContextVar[_KeptArchives | None] = ContextVar("_KEPT", default=None)
"""None where no archive stays unpacked."""


@contextmanager
def unpacked(file: Path) -> Iterator[Path]:
    """Yield a temporary outputs folder with the runs of an archive, in which nothing is written.

    Raises:
        RecordError: the file is no archive, a record or a failure in it is malformed or under
            another name, or predictions were altered; the message names the archive, because the
            temporary folder is gone when somebody reads it.
        StorageError: the folder of temporary files has no room for the archive's files.
    """
    kept = _KEPT.get()
    if kept is not None:
        yield kept.unpack(file.absolute())
        return
    with _unpacked_anew(file) as folder:
        yield folder


@contextmanager
def archives_kept_unpacked() -> Iterator[None]:
    """Unpack, check and read an archive once in the block, however many commands need it there.

    What the first command found is read by the others, even if the file changes meanwhile.
    """
    with ExitStack() as folders:
        token = _KEPT.set(_KeptArchives(folders))
        try:
            yield
        finally:
            _KEPT.reset(token)


def read_archived_runs(outputs: Path) -> ArchivedRuns:
    """Return the runs of an unpacked archive, whose folder is `outputs`."""
    kept = _KEPT.get()
    return ArchivedRuns(outputs) if kept is None else kept.read_runs(outputs)


@contextmanager
def _unpacked_anew(file: Path) -> Iterator[Path]:
    with _explain_full_storage(file):
        temporary = TemporaryDirectory()
    with temporary as folder:
        runs = Path(folder) / "runs"
        unpack(file, Path(folder))
        try:
            for run in list_folders(Path(folder)):
                check_record(run)
            for run in list_failed(Path(folder)):
                read_failure(run)
        except RecordError as error:
            raise RecordError(str(error).replace(f"{runs}/", f"{file}: ")) from error
        yield Path(folder)


def unpack(file: Path, outputs: Path) -> None:
    """Write the files of an archive below `outputs`, a new folder.

    Raises:
        RecordError: the file is no archive, or a path in it leads out of the folder of the runs.
        StorageError: `outputs` cannot be written.
    """
    if not file.is_file():
        raise RecordError(f"{file}: is not a file")
    with translate_errors(
        lambda reason: RecordError(f"{file}: is not an archive of records ({reason})")
    ):
        for batch in open_archive(file).batches(list(_COLUMNS)):
            for row in batch.to_pylist():
                _unpack_file(file, row["path"], row["content"], outputs / "runs")


def open_archive(file: Path) -> BoundedParquet:
    """Open an archive, of which nothing is read yet.

    Raises:
        ValueError: its columns are not those of an archive.
    """
    archive = BoundedParquet(file)
    if [(field.name, str(field.type)) for field in archive.schema] != list(_COLUMNS.items()):
        raise ValueError("its columns are not path, of texts, and content, of bytes")
    return archive


def _unpack_file(archive: Path, path: object, content: object, runs: Path) -> None:
    """Write one file of an archive.

    Raises:
        RecordError: it is no file of a record, or the archive has it twice.
        StorageError: it cannot be written.
    """
    if not isinstance(content, bytes):
        raise RecordError(f"{archive}: is not an archive of records (content must be bytes)")
    if not isinstance(path, str) or not _is_path_of_run(path):
        raise RecordError(f"{archive}: {path!r} is not the path of a file of a run")
    file = runs / path
    if file.exists():
        raise RecordError(f"{archive}: has {path!r} twice")
    with _explain_full_storage(archive):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _is_path_of_run(path: str) -> bool:
    names = path.encode(errors="replace").split(b"/")
    return bool(_PATH.fullmatch(path)) and max(map(len, names)) <= _LONGEST_NAME


@contextmanager
def _explain_full_storage(archive: Path) -> Iterator[None]:
    """Turn an OSError in the block into one that says where the files of an archive are unpacked.

    Raises:
        StorageError: the message names the folder of temporary files.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{archive}: cannot be unpacked in the folder of temporary files ({error}); name one "
            "with more space, as in TMPDIR=FOLDER sparsead …"
        ) from error


def list_folders(outputs: Path) -> list[Path]:
    """Return the folders of the records below an unpacked archive."""
    return sorted(path for path in (outputs / "runs").glob("*") if path.is_dir())


def check_record(folder: Path) -> RunRecord:
    """Return the record in a run's folder, if it is one that an archive may hold.

    Raises:
        RecordError: the record is malformed or of another run, or predictions were altered.
    """
    record = read_own(folder)
    check_predictions(record)
    return record


def read_own(folder: Path) -> RunRecord:
    """Return the record in a folder that has the name of its run.

    Raises:
        RecordError: the record is malformed, or of another run.
    """
    record = RunRecord.read(folder)
    if not is_named_after(folder, record.result):
        raise RecordError(f"{folder}: holds the run {name_of(record.result)} under another name")
    return record


class ArchivedRuns:
    """The runs of an unpacked archive, found by their configuration instead of their identity.

    The identity of a run depends on the content of its data files, which may be missing where the
    archive is read.
    """

    def __init__(self, outputs: Path) -> None:
        """Read all runs below `outputs`; those that no table can find are left out and named."""
        self._states: dict[str, State] = {r.folder.name: Done(r) for r in read_records(outputs)}
        for folder, failure in read_failures(outputs):
            self._states.setdefault(folder.name, Failed(failure))
        self._named: dict[str, list[str]] = defaultdict(list)
        for name in self._states:
            try:
                self._named[self._recipe(name)].append(name)
            except RecordError as error:
                warn(f"{error}; it is left out")

    def find(self, spec: RunSpec, sources: Iterable[RunSpec] = ()) -> State:
        """Return the state of a run; it is missing if no archived run has its configuration.

        Args:
            spec: the run.
            sources: the runs that it starts from.

        Raises:
            RecordError: several runs have this configuration, with different data or weights.
        """
        recipe = compute_recipe(spec, [compute_recipe(source) for source in sources])
        names = self._named.get(recipe, [])
        if len(names) > 1:
            raise RecordError(
                f"the archive has {len(names)} runs of one configuration, with different data or "
                f"weights: {', '.join(names)}"
            )
        return self._states[names[0]] if names else Missing()

    def _recipe(self, name: str, starting: tuple[str, ...] = ()) -> str:
        """Return the recipe of a run; `starting` are the runs that start from it.

        Raises:
            RecordError: its configuration cannot be read, or a source is missing or unusable.
        """
        with _explain_configuration(name):
            text = json.dumps(self._config(name))
            sources = [Path(folder).name for folder in list_sources(_read_spec(text))]
            recipes = {
                source: self._source_recipe(name, source, starting)
                for source in sources
                if is_run_name(source)
            }
            # A source that is no run is the folder of another library's adapter, named by itself.
            return _compute_recipe(text, *(recipes.get(source, source) for source in sources))

    def _source_recipe(self, name: str, source: str, starting: tuple[str, ...]) -> str:
        """Return the recipe of a run from which the run `name` starts."""
        if source not in self._states:
            raise RecordError(f"{name}: its source {source} is not in the archive")
        if source in (*starting, name):
            raise RecordError(f"{name}: starts from {source}, which starts from it")
        try:
            return self._recipe(source, (*starting, name))
        except RecordError as error:
            raise RecordError(f"{name}: its source cannot be used ({error})") from error

    def _config(self, name: str) -> Any:
        state = self._states[name]
        if isinstance(state, Done):
            return state.record.result["config"]
        assert isinstance(state, Failed)
        return state.failure["config"]


def list_source_runs(name: str, config: Any) -> list[str]:
    """Return the names of the runs that a run with a recorded configuration starts from.

    Raises:
        RecordError: the configuration of the run, which is called `name`, cannot be read.
    """
    with _explain_configuration(name):
        spec = _read_spec(json.dumps(config))
        sources = [Path(folder).name for folder in list_sources(spec)]
    return [source for source in sources if is_run_name(source)]


@lru_cache(maxsize=_RUNS_OF_A_PAGE)
def _compute_recipe(config: str, *sources: str) -> str:
    """Return the recipe of a recorded run, whose configuration is given as JSON."""
    return compute_recipe(_read_spec(config), sources)


def _read_spec(config: str) -> RunSpec:
    """Return a recorded run without the local files that it read, which may be missing here."""
    return RunSpec.from_dict(drop_local_files(json.loads(config)))


@contextmanager
def _explain_configuration(name: str) -> Iterator[None]:
    """Turn what a configuration raises that somebody else wrote into an error that names its run.

    Raises:
        RecordError: of the block itself, or the configuration cannot be read.
    """
    try:
        yield
    except RecordError:
        raise
    except (SparseadError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(f"{name}: its configuration cannot be read ({error})") from error
