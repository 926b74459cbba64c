"""Checks of a table's runs, once their configurations are composed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError, unknown

if TYPE_CHECKING:  # it imports this module
    from sparsead.tables.cells import Column, Place


def check_metric(table: str, column: Column, spec: RunSpec) -> None:
    """Refuse a column whose metric its task does not compute.

    Args:
        table: the table's name.
        column: the column.
        spec: a run of it; a task that does not say what it computes is not checked.

    Raises:
        ConfigError: the message names the nearest metric.
    """
    scores = spec.task.scores()
    if scores and column.metric not in scores:
        where = f"{table}: column {column.name}"
        raise ConfigError(f"{where}: {unknown('metric', column.metric, scores)}")


def check_rows_differ(table: str, places: Sequence[Place], specs: Sequence[RunSpec]) -> None:
    """Refuse two rows with the same runs in a column: one of their labels would be wrong.

    Args:
        table: the table's name.
        places: a backbone, a column and a row for each run.
        specs: the runs, in the order of `places`; runs with other sources may have equal ones.

    Raises:
        ConfigError: the message names both rows.
    """
    seen: dict[tuple[str, str, str | None], list[tuple[str, RunSpec]]] = defaultdict(list)
    for (backbone, column, row), spec in zip(places, specs, strict=True):
        others = seen[backbone, column.name, row.sources]
        for other, its_spec in others:
            if its_spec == spec:
                raise ConfigError(
                    f"{table}: the rows {other} and {row.name} would be the same runs in "
                    f"{column.name}; leave out what makes them equal, or leave one of them out "
                    "with only=row=PATTERN"
                )
        others.append((row.name, spec))
