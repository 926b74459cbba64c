"""The results of a table, from the folder of the runs or from an archive of records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sparsead.config.quoting import format_override
from sparsead.errors import RecordError
from sparsead.report.results import Results, measure
from sparsead.runs.archive import read_archived_runs
from sparsead.runs.listing import open_place
from sparsead.runs.states import State
from sparsead.tables.cells import Cell
from sparsead.tables.files import load_table


@contextmanager
def open_results(
    table: str, overrides: Sequence[str], outputs: Path, archive: Path | None
) -> Iterator[Results]:
    """Yield the results of a table; its records can be read until the context ends.

    Args:
        table: name or path of the table, as for `load_table`.
        overrides: the table's overrides, without `outputs=`.
        outputs: folder of the runs.
        archive: Parquet file of records, to be read instead of `outputs`; None for none. Its runs
            are found by their configuration alone, so that the data need not be present.

    Raises:
        ConfigError: the table or an override is malformed.
        RecordError: the archive or a record cannot be read, or the archive's runs of a cell were
            not trained on the same data from the same weights.
    """
    if archive is None:
        yield measure(load_table(table, [format_override("outputs", outputs), *overrides]))
        return
    with open_place(outputs, archive) as folder:
        runs = read_archived_runs(folder)

        def find(cell: Cell) -> State:
            return runs.find(cell.spec, [run.spec for run in cell.needs])

        # In a folder without runs, each cell lists all runs that it starts from in `needs`.
        nothing = folder / "nothing"
        results = measure(
            load_table(table, [format_override("outputs", nothing), *overrides]), find
        )
        _check_settings(results, archive)
        yield results


def _check_settings(results: Results, archive: Path) -> None:
    """Refuse an archive whose runs of a cell differ in more than their seeds.

    Their configurations are the same, but not the content of the files that these name.
    """
    for place, measured in results.places.items():
        of_setting = {r.result["setting"]: r.folder.name for r in measured.records.values()}
        if len(of_setting) > 1:
            one, other, *_ = of_setting.values()
            raise RecordError(
                f"{archive}: {results.label(place.row)} in {place.column} has runs with different "
                f"data or weights, such as {one} and {other}; pack those of one kind alone"
            )
