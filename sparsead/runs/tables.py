"""A table of the paper, or a user's own, as one YAML file; and its cells, each of them one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sparsead.compose import compose
from sparsead.config import RunSpec
from sparsead.errors import ConfigError, unknown, unknown_key

AVERAGE = "avg"
"""The key of a row's printed average, and of its parameters where all columns share them."""


@dataclass(frozen=True)
class Published:
    """What the paper prints for one row, in percent; `params` is the share that is trained.

    Keys are names of columns, and `avg`. `backbone` is the one that the paper used.
    """

    backbone: str | None = None
    params: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A method: an experiment of conf/, further overrides, or both.

    `name` is the experiment's last word unless it is given; a table refers to its rows by it.
    `series` joins the rows that a figure draws as one line. `published` holds one entry a backbone.
    """

    name: str
    label: str
    overrides: tuple[str, ...]
    series: str | None = None
    published: tuple[Published, ...] = ()

    def published_for(self, backbone: str) -> Published | None:
        """Return what the paper prints for this backbone, else for the last one it prints."""
        mine = [entry for entry in self.published if entry.backbone in (backbone, None)]
        return (mine or list(self.published) or [None])[-1]


@dataclass(frozen=True)
class Column:
    """A task and one of its metrics. `overrides` (a backbone, a bottleneck) hold for it alone."""

    name: str
    task: str
    metric: str
    label: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableSpec:
    """A table: rows by columns, for each backbone, over the seeds 1 to `seeds`.

    Attributes:
        name: of the file, without its suffix.
        title: one line.
        rows: in the order of the table.
        columns: likewise.
        backbones: one group of rows each; a column's own overrides go before it.
        seeds: how many.
        protocol: for every cell; None leaves each row its own.
        average: names of the columns that the row's average is over; none for no average.
        average_label: the head of that column.
        baseline: name of the dense row that others are compared with, or None.
        comparisons: names of the rows that are tested against the baseline.
        claims: each with `text`, `kind` and the kind's own keys.
        overrides: of `sparsead train`, for every cell.
        options: what else a figure's file says, such as its kind.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    backbones: tuple[str, ...]
    seeds: int = 5
    protocol: str | None = None
    average: tuple[str, ...] = ()
    average_label: str = "avg"
    baseline: str | None = None
    comparisons: tuple[str, ...] = ()
    claims: tuple[Mapping[str, Any], ...] = ()
    overrides: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One run of a table: a row, a backbone, a column and a seed.

    `overrides` are what `sparsead train` takes to do this very run; `spec` is the run.
    """

    row: str
    column: str
    backbone: str
    seed: int
    overrides: tuple[str, ...]
    spec: RunSpec


def load_table(name_or_path: str, overrides: Sequence[str] = ()) -> TableSpec:
    """Read conf/table/NAME.yaml, or any YAML file of that form.

    Args:
        name_or_path: the name of one of the project's tables, or a path that ends in .yaml.
        overrides: `backbone=`, `seeds=`, `protocol=` and `only=` change the table itself;
            everything else is an override of `sparsead train` for every cell.

    Raises:
        ConfigError: there is no such table, or it or an override is malformed.
    """
    raise NotImplementedError


def cells(table: TableSpec) -> list[Cell]:
    """Return the table's cells: by backbone, then column, then row, then seed.

    Two columns of one task share their runs: their cells differ in nothing but the column.

    Raises:
        ConfigError: a row, column or override composes to no run.
    """
    raise NotImplementedError
