"""`sparsead params`: count a run's parameters, bytes and FLOPs without loading weights.

$ sparsead params backbone=roberta-base adapter=houlsby sparsity=0.4
$ sparsead params --paper
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sparsead.assembly.checks import check_parts
from sparsead.config.arguments import Parser, add_json, add_overrides, add_wide, read_format
from sparsead.config.compose import compose_as
from sparsead.config.overrides import expand
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError
from sparsead.report.formats import FORMATS, to_rich
from sparsead.report.screen import wrap
from sparsead.runs.record import find_record
from sparsead.runs.request import RunRequest, do_prerequisites
from sparsead.tables.cells import AVERAGE, TableSpec, list_cells
from sparsead.tables.files import load_table

Row = dict[str, Any]

_OUTPUTS = ("rich", "json")
_PAPER_TABLES = ("table1", "table2", "table3")
_COUNTED = ("backbone", "r", "sparsity", "adapter parameters")
_RANKED = ("table", "row", "column", "adapter", "r", "sparsity", "paper %", "nominal %", "nonzero")
"""The columns that are shown first where a terminal has no room for all."""
_NOMINAL = (
    "nominal %: kept adapter weights ÷ backbone parameters; as in the paper, without the head.\n"
)
_LEGEND = (
    _NOMINAL
    + "nonzero: trained weights: kept adapter weights and, unless it is frozen, the head. "
    + "bytes: size of the run's weights file; with adapter.budget, about.\n"
)


def main() -> None:
    """Entry point of `sparsead params`."""
    parser = Parser("sparsead params", __doc__)
    add_overrides(parser, "as `sparsead train` takes them")
    parser.add_argument(
        "--paper", action="store_true", help="the #Param columns of the paper's Tables 1, 2 and 3"
    )
    parser.add_argument("--format", choices=_OUTPUTS, help="default: rich")
    add_wide(parser)
    add_json(parser)
    arguments = parser.parse()
    arguments.format = read_format(arguments, "rich")
    if arguments.paper and arguments.overrides:
        raise ConfigError("params: --paper takes no overrides; it counts the runs of Tables 1 to 3")
    rows = count_paper_rows() if arguments.paper else [count_run(_asked_for(arguments.overrides))]
    legend = _NOMINAL if arguments.paper else _LEGEND
    columns = list(rows[0])
    if arguments.format == "rich":
        table = to_rich(columns, rows, _RANKED, wide=arguments.wide)
        sys.stdout.write(table + "\n".join(wrap(legend)) + "\n")
    else:
        sys.stdout.write(FORMATS[arguments.format](columns, rows))


def count_run(spec: RunSpec) -> Row:
    """Return the nominal #param, non-zeros, bytes and FLOPs of a run, and their components."""
    from sparsead.assembly.account import count_costs
    from sparsead.training.quiet import quiet_libraries

    quiet_libraries()
    counts = count_costs(spec)
    return {
        "backbone": spec.backbone.name,
        "adapter": spec.adapter.name,
        "r": spec.adapter.options.get("bottleneck"),
        "sparsity": round(spec.sparsity, 4),
        "backbone parameters": counts["backbone"],
        "adapter parameters": counts["adapter"],
        "nominal %": round(100 * counts["nominal"], 2),
        "nonzero": counts["trainable_nonzero"],
        "bytes": counts["stored_bytes"],
        "added FLOPs/token": counts["added_flops_per_token"],
    }


def count_paper_rows() -> list[Row]:
    """Return every published #Param of Tables 1 to 3 beside the counted one.

    Rows, backbones and published numbers come from the tables' files in conf/table.
    """
    counted: dict[str, Row] = {}
    tables = [load_table(name, ["seeds=1"]) for name in _PAPER_TABLES]
    return [row for table in tables for row in _table_rows(table, counted)]


def _table_rows(table: TableSpec, counted: dict[str, Row]) -> Iterator[Row]:
    shared = table.average[0]  # one #Param holds for all averaged columns: count it for the first
    printed = {c for row in table.rows for p in row.published for c in p.params} | {shared}
    columns = [column for column in table.columns if column.name in printed]
    specs = {
        (c.backbone, c.row, c.column): c.spec for c in list_cells(replace(table, columns=columns))
    }
    heads = {column.name: column.label for column in columns} | {AVERAGE: table.average_label}
    for backbone in table.backbones:
        for row in table.rows:
            published = row.published_for(backbone)
            for column, share in published.params.items() if published else ():
                spec = specs[backbone, row.name, shared if column == AVERAGE else column]
                alike = repr((spec.backbone, spec.task.name, spec.adapter, spec.sparsity))
                ours = counted[alike] = counted.get(alike) or count_run(spec)
                yield {
                    "table": table.name,
                    "row": row.label,
                    "column": heads[column],
                    **{key: ours[key] for key in _COUNTED},
                    "paper %": share,
                    "nominal %": ours["nominal %"],
                }


def _asked_for(overrides: Sequence[str]) -> RunSpec:
    request = compose_as(RunRequest.from_config, overrides)
    check_parts(request.spec)
    return do_prerequisites(request, expand(overrides), _need_record).spec


def _need_record(run: RunRequest) -> None:
    if find_record(run.folder) is None:
        raise ConfigError(
            f"task={run.spec.task.name}: this run starts from a run on this task that is not "
            "finished; sparsead train with the same overrides trains it first"
        )
