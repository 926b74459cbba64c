"""`sparsead runs`: list, filter, delete, export or pack finished and failed runs."""

from __future__ import annotations

import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sparsead.config.arguments import Parser, add_outputs, user_path
from sparsead.config.choices import list_choices
from sparsead.config.seeds import Seeds
from sparsead.errors import ConfigError, StorageError, unknown
from sparsead.report.formats import FORMATS, pluralize, to_plain
from sparsead.runs.deletion import delete_runs
from sparsead.runs.failure import read_failures
from sparsead.runs.index import read_summaries
from sparsead.runs.record import RunRecord

Row = dict[str, Any]

COLUMNS = (
    *("run", "state", "backbone", "task", "adapter", "r", "pruner", "sparsity"),
    *("seed", "metric", "score", "seconds"),
)
_NOTHING = dict.fromkeys(COLUMNS)
_GROUPS = ("backbone", "task", "adapter", "pruner")
_STATES = ("done", "failed")


def main() -> None:
    """Entry point of `sparsead runs`."""
    words = sys.argv[1:]
    action = words.pop(0) if words and words[0] in _ACTIONS else "list"
    arguments = _parser(action).parse(words)
    wanted = [_pattern(given) for given in arguments.filters]
    every = list_rows(arguments.outputs)
    _check_names(wanted, every)
    rows = [
        row
        for row in every
        if all(any(_is(row[key], each) for each in patterns) for key, patterns in wanted)
    ]
    _ACTIONS[action](rows, arguments)


def _parser(action: str) -> Parser:
    given = "" if action == "list" else f" {action}"
    actions = "\n".join(f"  {name:<7} {purpose}" for name, purpose in _PURPOSES.items())
    parser = Parser(
        f"sparsead runs{given}",
        _PURPOSES[action],
        epilog=f"sparsead runs [ACTION], with ACTION one of\n{actions}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    if action in ("export", "pack"):
        suffixes = ".parquet, .csv or .json" if action == "export" else ".parquet"
        parser.add_argument("file", type=user_path, help=f"ends in {suffixes}")
    where = f"KEY=PATTERN with KEY one of {', '.join(COLUMNS)}; all must match"
    parser.add_argument("filters", nargs="*", default=[], metavar="FILTER", help=where)
    add_outputs(parser)
    if action == "list":
        parser.add_argument("--format", choices=sorted(FORMATS), help="default: plain columns")
    if action == "delete":
        parser.add_argument("--yes", action="store_true", help="delete without asking")
    return parser


def list_rows(outputs: Path) -> list[Row]:
    """Return one row per run with the keys `COLUMNS`; sparsity and score are in percent."""
    rows = [_done(record) for record in read_summaries(outputs)]
    names = {row["run"] for row in rows}
    failed = [_failed(folder, why) for folder, why in read_failures(outputs)]
    return rows + [row for row in failed if row["run"] not in names]


def _done(record: RunRecord) -> Row:
    result = record.result
    metric, score = next(iter(result["scores"].items()))
    measured = {
        "run": record.folder.name,
        "state": "done",
        "sparsity": round(100 * result["sparsity"]["realised"], 2),
        "metric": metric,
        "score": None if score is None else round(100 * score, 2),
        "seconds": round(sum(result["seconds"].values()), 1),
    }
    return _NOTHING | _choices(result["config"]) | measured


def _failed(folder: Path, failure: dict[str, Any]) -> Row:
    config = failure["config"]
    asked = {"run": folder.name, "state": "failed", "sparsity": 100 * config["sparsity"]}
    return _NOTHING | _choices(config) | asked


def _choices(config: dict[str, Any]) -> Row:
    names = {group: config[group]["name"] for group in _GROUPS}
    seeds = Seeds.read(config)
    seed = str(seeds) if seeds.shared is None else seeds.shared
    return names | {"r": config["adapter"]["options"].get("bottleneck"), "seed": seed}


def _pattern(given: str) -> tuple[str, list[str]]:
    """Return the column of a filter and its patterns; a row matches if one of them does."""
    key, equals, patterns = given.partition("=")
    if not equals:
        raise ConfigError(unknown("runs", given, _ACTIONS) + ", or a filter KEY=PATTERN")
    if key not in COLUMNS:
        raise ConfigError(unknown("filter", key, COLUMNS))
    wanted = patterns.split(",")
    for pattern in wanted if key == "state" else ():
        if not any(fnmatch(state, pattern) for state in _STATES):
            raise ConfigError(unknown(key, pattern, _STATES))
    return key, wanted


def _check_names(wanted: Sequence[tuple[str, list[str]]], rows: Sequence[Row]) -> None:
    """Refuse a filter that matches neither the runs nor conf/, because it is probably misspelt."""
    for key, patterns in wanted:
        if key not in _GROUPS:
            continue
        names = {*list_choices(key), *(str(row[key]) for row in rows)}
        for pattern in patterns:
            if not any(fnmatch(name, pattern) for name in names):
                raise ConfigError(unknown(key, pattern, names))


def _is(value: Any, pattern: str) -> bool:
    if isinstance(value, int | float):
        try:
            return bool(value == float(pattern))
        except ValueError:
            return False
    return fnmatch(str(value), pattern)


def _list(rows: list[Row], arguments: Namespace) -> None:
    written = FORMATS[arguments.format] if arguments.format else to_plain
    sys.stdout.write(written(COLUMNS, rows))


def _delete(rows: list[Row], arguments: Namespace) -> None:
    if not rows:
        sys.stdout.write("no runs match\n")
        return
    if not arguments.yes and not _is_confirmed(len(rows)):
        sys.stdout.write("nothing deleted\n")
        return
    delete_runs(arguments.outputs / "runs", [row["run"] for row in rows])
    sys.stdout.write(f"deleted {len(rows)}\n")


def _is_confirmed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(f"runs delete: would delete {count} runs; confirm with --yes")
    return input(f"delete {count} runs? [y/N] ").strip().lower() in ("y", "yes")


def _export(rows: list[Row], arguments: Namespace) -> None:
    """Write the rows to a file, in the format of the file's suffix."""
    file: Path = arguments.file
    if file.suffix not in _WRITERS:
        raise ConfigError(unknown("runs export", file.suffix or file.name, _WRITERS))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _WRITERS[file.suffix](rows, file)
    except OSError as error:
        raise StorageError(f"{file}: cannot be written ({error})") from error
    sys.stdout.write(f"{file}\n")


def _pack(rows: list[Row], arguments: Namespace) -> None:
    """Write the records of these runs, without weights, to an archive."""
    from sparsead.runs.archive import pack

    if arguments.file.suffix != ".parquet":
        raise ConfigError(unknown("runs pack", arguments.file.suffix, [".parquet"]))
    pack(arguments.outputs, [row["run"] for row in rows], arguments.file)
    sys.stdout.write(f"{arguments.file}: {pluralize(len(rows), 'run')}\n")


def _parquet(rows: list[Row], file: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({column: [row[column] for row in rows] for column in COLUMNS})
    parquet.write_table(table, file)


def _text_writer(form: str) -> Callable[[list[Row], Path], None]:
    def write(rows: list[Row], file: Path) -> None:
        file.write_text(FORMATS[form](COLUMNS, rows), "utf-8")

    return write


_WRITERS = {".parquet": _parquet, ".csv": _text_writer("csv"), ".json": _text_writer("json")}
_ACTIONS = {"list": _list, "delete": _delete, "export": _export, "pack": _pack}
_PURPOSES = {
    "list": "list the runs (the default action)",
    "delete": "delete the runs that match the filters",
    "export": "write the runs that match the filters to a file",
    "pack": "write the records of the runs to an archive, for `sparsead table --records`",
}
