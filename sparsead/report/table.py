"""`sparsead table`: finished runs, one row a setting, mean and spread over its seeds."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from sparsead.errors import RecordError
from sparsead.report.formats import FORMATS
from sparsead.report.statistics import Estimate
from sparsead.runs.record import RunRecord, all_records

Row = dict[str, Any]


def main() -> None:
    """Entry point of `sparsead table`."""
    parser = argparse.ArgumentParser(prog="sparsead table", description=__doc__)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of the runs")
    parser.add_argument("--format", choices=sorted(FORMATS), default="rich")
    arguments = parser.parse_args()
    rows = rows_of(all_records(arguments.outputs))
    if not rows:
        sys.stderr.write(f"sparsead: {arguments.outputs}: has no finished runs yet\n")
        return
    sys.stdout.write(FORMATS[arguments.format](_columns(rows), rows))


def rows_of(records: Iterable[RunRecord]) -> list[Row]:
    """Return one row per setting: the runs that differ in nothing but the seed.

    Scores, sparsity and #param are percentages, as the field prints them.
    """
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        groups[record.result.get("setting", record.folder.name)].append(record)
    rows = [_row(group) for group in groups.values()]
    return sorted(rows, key=lambda row: [(row[c] is not None, row[c]) for c in _ORDER])


_ORDER = ("task", "backbone", "adapter", "r", "pruner", "sparsity")


def _row(group: Sequence[RunRecord]) -> Row:
    try:
        return _summary(group)
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{group[0].folder}: its result is incomplete ({error!r})") from error


def _summary(group: Sequence[RunRecord]) -> Row:
    result = group[0].result
    config = result["config"]
    row: Row = {
        "task": config["task"]["name"],
        "backbone": config["backbone"]["name"],
        "adapter": config["adapter"]["name"],
        "r": config["adapter"]["options"].get("bottleneck"),
        "pruner": config["pruner"]["name"],
        "sparsity": round(100 * result["sparsity"]["realised"], 2),
        "#param": round(100 * result["parameters"]["nominal"], 2),
        "n": len(group),
    }
    for metric in result["scores"]:
        row[metric] = Estimate.of([100 * record.result["scores"][metric] for record in group])
    row["seconds"] = round(mean(sum(record.result["seconds"].values()) for record in group), 1)
    return row


def _columns(rows: Sequence[Row]) -> list[str]:
    seen = dict.fromkeys(column for row in rows for column in row)
    return [column for column in seen if column != "seconds"] + ["seconds"]
