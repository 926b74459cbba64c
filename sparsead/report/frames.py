"""`sparsead.runs` and `sparsead.table`: finished runs, and a table, as pandas frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsead.config.choices import own_folder_within
from sparsead.config.overrides import check_texts
from sparsead.report.export import export_rows
from sparsead.report.opened import open_results
from sparsead.report.tabulate import cell_lines
from sparsead.report.view import build_view
from sparsead.runs.listing import COLUMNS, Filter, choose_runs, list_runs

if TYPE_CHECKING:
    from pandas import DataFrame


def runs(*filters: str, outputs: str | Path = "outputs") -> DataFrame:
    """Return all runs as a frame, one row a run, with scores and sparsity in percent.

    Its columns are those of `sparsead runs`, the configuration keys in which the runs differ, every
    score, and `history.NAME` with one value for each evaluation.

    >>> import sparsead
    >>> frame = sparsead.runs("task=demo_mrpc", "protocol.epochs=2")
    >>> frame[["backbone", "pruner", "sparsity", "state"]].to_dict("records")
    [{'backbone': 'tiny-bert', 'pruner': 'snip', 'sparsity': 40.0, 'state': 'done'}]

    Args:
        filters: as of `sparsead runs`, such as `task=mrpc,rte` or `state=failed`; all must match.
        outputs: folder of the runs.

    Raises:
        ConfigError: a filter is malformed, or names what no run has.
    """
    from pandas import DataFrame

    check_texts("filters", filters)
    chosen = choose_runs(list_runs(Path(outputs)), [Filter.read(given) for given in filters])
    return DataFrame(export_rows(chosen), columns=None if chosen else list(COLUMNS))


def table(
    name: str,
    *overrides: str,
    outputs: str | Path = "outputs",
    config_dir: str | Path | None = None,
) -> DataFrame:
    """Return a table as a frame, one row for each of its cells; it trains nothing.

    Scores are in percent. `n` is how many of the `asked` runs have a score, and `failed` how many
    failed; `mean` is missing as long as no run has a score.

    >>> import sparsead
    >>> frame = sparsead.table("table3", "backbone=minilm", "seeds=1")
    >>> frame.query("row == 'adapter'")[["column", "n"]].values.tolist()
    [['cola', 0], ['mrpc', 0], ['stsb', 0], ['rte', 0], ['avg', 0]]

    Args:
        name: table1, …, or the path of a file that ends in .yaml.
        overrides: as `sparsead reproduce` takes them.
        outputs: folder of the runs.
        config_dir: folder with choices of your own, such as pruner/mine.yaml.

    Raises:
        ConfigError: the table or an override is wrong.
        RecordError: a record cannot be read.
    """
    from pandas import DataFrame

    check_texts("overrides", overrides)
    with (
        own_folder_within(config_dir),
        open_results(name, overrides, Path(outputs), None) as results,
    ):
        return DataFrame(cell_lines(build_view(results)))
