"""What a run predicted on each evaluated example: one Parquet file a split, part of the record.

While a run trains or generates, its predictions are JSON lines, to which can be appended. When it
is finished they become Parquet, which is a tenth of the size.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsead.errors import RecordError, unknown
from sparsead.errors.translation import translate_errors
from sparsead.runs.checked import check_type
from sparsead.runs.files import check_readable
from sparsead.runs.parquet_files import BoundedParquet
from sparsead.runs.record import RESULT_FILE, RunRecord
from sparsead.runs.result import Predictions, PredictionsFile

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import DataType, Schema, Table

_IDENTITY = b"sparsead.identity"
_NEEDED = ("id", "prediction")


def predictions_file(folder: Path, split: str) -> Path:
    """Return where a finished run keeps what it predicted on a split."""
    return folder / f"predictions-{split}.parquet"


def write_predictions(
    folder: Path, split: str, records: Sequence[Mapping[str, Any]], identity: str
) -> PredictionsFile:
    """Write the predictions on a split; numbers are stored as 32-bit floats.

    Args:
        folder: of the run.
        split: such as `validation`.
        records: one for each example, in their order, with the same keys: `id`, which differ,
            `prediction`, and what else the task gives.
        identity: the run's.

    Returns:
        What `result.json` says about the file: the number of `examples`, and its `sha256`.
    """
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist([{**record, "id": str(record["id"])} for record in records])
    schema = pyarrow.schema([field.with_type(_compact(field.type)) for field in table.schema])
    table = table.cast(schema.with_metadata({_IDENTITY: identity}))
    names = [name for name in table.column_names if name != "id"]
    options = {"use_dictionary": names, "column_encoding": {"id": "DELTA_BYTE_ARRAY"}}
    parquet.write_table(table, buffer := io.BytesIO(), compression="zstd", **options)
    predictions_file(folder, split).write_bytes(content := buffer.getvalue())
    return {"examples": len(records), "sha256": hashlib.sha256(content).hexdigest()}


def list_predicted_splits(record: RunRecord) -> list[str]:
    """Return the splits whose predictions a run keeps; the run's scores are those of the first.

    Raises:
        RecordError: the record says nothing about predictions.
    """
    return list(_described(record))


def read_predictions(
    record: RunRecord, split: str | None = None, *, without: Sequence[str] = ()
) -> DataFrame:
    """Return what a run predicted on a split, one row for each example, in their order.

    Args:
        record: the run.
        split: such as `validation`; None reads the split of the run's scores.
        without: columns to leave out, because they take long to read.

    Returns:
        The columns `id` and `prediction`, and what else the task keeps. Classes: `label`, the true
        one, and `probabilities.CLASS` for each class. Numbers: `label`. Answers: `references`,
        `n_best`. Generated texts: `reference`. A column with the name of a metric holds the values
        of the examples, of which the score is the mean.

    Raises:
        RecordError: the run keeps no such predictions, or the file is damaged or another run's.
    """
    described = _described(record)
    split = next(iter(described)) if split is None else split
    if split not in described:
        raise RecordError(f"{record.folder}: {unknown('split', split, described)}")
    table = _read(predictions_file(record.folder, split), record, described[split])
    # What a writer's pandas noted in the schema is not needed, and not to be trusted.
    kept = table.select([name for name in table.column_names if name not in without])
    return kept.replace_schema_metadata(None).flatten().to_pandas()


def check_predictions(record: RunRecord) -> None:
    """Check the predictions in a run's folder; those that are missing are not looked for.

    Raises:
        RecordError: a file is damaged or another run's, or the record does not name it.
    """
    named = _described(record) if "predictions" in record.result else {}
    known = {predictions_file(record.folder, split) for split in named}
    for file in sorted(record.folder.glob(predictions_file(Path(), "*").name)):
        if file not in known and not file.is_symlink():
            raise RecordError(f"{file}: its record, {RESULT_FILE}, does not name it; delete it")
    for split, described in named.items():
        if predictions_file(record.folder, split).exists():
            _read(predictions_file(record.folder, split), record, described)


def _described(record: RunRecord) -> dict[str, PredictionsFile]:
    """Return what the result says about each file, the split of the run's scores first."""
    described = record.result.get("predictions")
    if described is None:
        raise RecordError(
            f"{record.folder}: keeps no predictions, because an earlier version recorded it; "
            "train it again with rerun=true"
        )
    try:
        return check_type(described, Predictions)
    except ValueError as error:
        raise RecordError(f"{record.folder / RESULT_FILE}: predictions: {error}") from error


def _read(file: Path, record: RunRecord, described: PredictionsFile) -> Table:
    try:
        check_readable(file)
        content = file.read_bytes()
    except OSError as error:
        raise RecordError(f"{file}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != described["sha256"]:
        raise RecordError(f"{file}: does not have the SHA-256 that {RESULT_FILE} records")
    with translate_errors(
        lambda reason: RecordError(f"{file}: is not a file of predictions ({reason})")
    ):
        opened = BoundedParquet(content)
        _check_owner(file, opened, record, described)
        _check_columns(file, opened.schema, record)
        table = opened.read()
    if table["id"].null_count:
        raise RecordError(f"{file}: column id: an example has no id")
    return table


def _check_owner(
    file: Path, opened: BoundedParquet, record: RunRecord, described: PredictionsFile
) -> None:
    identity = (opened.schema.metadata or {}).get(_IDENTITY, b"").decode("utf-8", "replace")
    if identity != record.result.get("identity"):
        found = f"belongs to the run {identity}" if identity else "names no run"
        raise RecordError(f"{file}: {found}; it is not a file of this run")
    if opened.rows != described["examples"]:
        recorded = described["examples"]
        raise RecordError(f"{file}: has {opened.rows} examples, {RESULT_FILE} says {recorded}")


def _check_columns(file: Path, schema: Schema, record: RunRecord) -> None:
    if missing := [name for name in _NEEDED if name not in schema.names]:
        raise RecordError(f"{file}: has no column {missing[0]}")
    names = schema.empty_table().flatten().column_names
    if twice := [name for name in names if names.count(name) > 1]:
        raise RecordError(f"{file}: has two columns {twice[0]}")
    for field in schema:
        if not _is_of_json(field.type):
            raise RecordError(f"{file}: column {field.name}: has values of the type {field.type}")
    predicted = schema.field("prediction").type
    for column, is_wanted in _wanted_types(record, predicted).items():
        if column in schema.names and not is_wanted(kind := schema.field(column).type):
            raise RecordError(f"{file}: column {column}: has values of the type {kind}")


def _wanted_types(record: RunRecord, predicted: DataType) -> dict[str, Callable[[DataType], bool]]:
    """Return for the columns whose meaning is known what their types must be.

    A prediction and its label are compared, so that they are single values.

    Args:
        record: the run; its scores are names of columns of numbers.
        predicted: the type of the predictions; the labels of numbers are numbers.
    """
    from pyarrow import types

    def is_number(kind: DataType) -> bool:
        return bool(types.is_floating(kind) or types.is_integer(kind))

    def are_shares(kind: DataType) -> bool:
        return types.is_struct(kind) and all(types.is_floating(part.type) for part in kind.fields)

    def is_single(kind: DataType) -> bool:
        return not types.is_nested(kind)

    wanted = dict.fromkeys(record.result.get("scores", ()), is_number)
    wanted |= {"id": types.is_string, "probabilities": are_shares, "prediction": is_single}
    return wanted | {"label": is_number if types.is_floating(predicted) else is_single}


def _is_of_json(kind: DataType) -> bool:
    """Tell whether a type is one of those that `write_predictions` makes of JSON values."""
    from pyarrow import types

    if types.is_list(kind):
        return _is_of_json(kind.value_type)
    if types.is_struct(kind):
        return all(_is_of_json(part.type) for part in kind.fields)
    is_kinds = (types.is_null, types.is_boolean, types.is_integer, types.is_floating)
    return types.is_string(kind) or any(is_kind(kind) for is_kind in is_kinds)


def _compact(kind: DataType) -> DataType:
    """Return a type like `kind` whose numbers are 32-bit floats."""
    import pyarrow

    if pyarrow.types.is_floating(kind):
        return pyarrow.float32()
    if pyarrow.types.is_struct(kind):
        return pyarrow.struct([field.with_type(_compact(field.type)) for field in kind.fields])
    if pyarrow.types.is_list(kind):
        return pyarrow.list_(_compact(kind.value_type))
    return kind
