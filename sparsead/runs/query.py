"""Find a finished run by its folder, its identity or a part of its name."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from sparsead.config.trust import check_trusted
from sparsead.errors import ConfigError, RecordError
from sparsead.runs.predictions import read_predictions
from sparsead.runs.record import RESULT_FILE, RunRecord, restore_all_replaced
from sparsead.runs.result import rebuilt_config

if TYPE_CHECKING:
    from pandas import DataFrame

_NAMED = 5


def find_run(run: str, outputs: Path) -> RunRecord:
    """Return the run in the folder `run`, or the one run below `outputs` whose name contains `run`.

    Raises:
        RecordError: no run matches, or more than one does.
    """
    if (Path(run) / RESULT_FILE).is_file():
        return RunRecord.read(Path(run))
    restore_all_replaced(outputs)
    names = sorted(path.parent.name for path in (outputs / "runs").glob(f"[!.]*/{RESULT_FILE}"))
    found = [name for name in names if name == run] or [name for name in names if run in name]
    if len(found) == 1:
        return RunRecord.read(outputs / "runs" / found[0])
    if found:
        more = ", …" if len(found) > _NAMED else ""
        listed = ", ".join(found[:_NAMED]) + more
        raise RecordError(f"{run}: matches the names of {len(found)} runs ({listed})")
    near = _nearest(run, names)
    hint = f"; did you mean {near}?" if near else ""
    where = outputs / "runs"
    raise RecordError(
        f"{run}: is neither the folder of a run nor part of the name of one in {where}{hint}"
    )


def find_trusted_run(run: str, outputs: Path, trust: str | Sequence[str] | None) -> RunRecord:
    """Return a run as `find_run` does, of which a model may be built.

    Args:
        run: the run's folder, its identity or a part of its name that no other run has.
        outputs: folder of the runs.
        trust: the packages whose code the record may name.

    Raises:
        ConfigError: the record names code of a package that is not trusted.
        RecordError: no run matches, or more than one does.
    """
    record = find_run(run, outputs)
    check_trusted_run(record, trust)
    return record


def check_trusted_run(record: RunRecord, trust: str | Sequence[str] | None) -> None:
    """Refuse a run whose record names code, in its configuration or in what its task learned.

    Args:
        record: the run.
        trust: the packages whose code the record may name.

    Raises:
        ConfigError: the record names code of a package that is not trusted.
    """
    try:
        check_trusted(rebuilt_config(record.result), trust)
    except ConfigError as error:
        raise ConfigError(f"{record.folder}: {error}") from error


def predictions(
    run: str | Path, split: str | None = None, outputs: str | Path = "outputs"
) -> DataFrame:
    """Return what a run predicted on each example of a split that it was evaluated on.

    >>> import sparsead
    >>> predicted = sparsead.predictions("tiny-bert_demo_mrpc")  # a part of one run's name
    >>> len(predicted), "prediction" in predicted.columns
    (16, True)

    Args:
        run: the run's folder, its identity or a part of its name that no other run has.
        split: such as `validation`; None reads the split of the run's scores.
        outputs: folder of the runs.

    Returns:
        One row for each example, with the columns of `sparsead.runs.predictions.read_predictions`.

    Raises:
        RecordError: there is no such run, or its predictions cannot be read or are another run's.
    """
    return read_predictions(find_run(str(run), Path(outputs)), split)


def _nearest(run: str, names: list[str]) -> str | None:
    identities = {name.rpartition("_")[2]: name for name in names}
    near = get_close_matches(run, [*names, *identities], n=1, cutoff=0.4)
    return identities.get(near[0], near[0]) if near else None
