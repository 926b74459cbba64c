"""`sparsead runs`: list, filter, delete, restore, export, pack or unpack runs.

$ sparsead runs task=mrpc sparsity=0.4
$ sparsead runs delete state=failed
$ sparsead runs export runs.csv
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import shorten

from sparsead.config.arguments import (
    Parser,
    add_json,
    add_outputs,
    add_wide,
    read_format,
    take_action,
    user_path,
)
from sparsead.config.choices import suggest_override
from sparsead.config.quoting import outputs_option
from sparsead.errors import ConfigError, RecordError, unknown, warn
from sparsead.errors.display import one_line, pluralize, to_columns
from sparsead.progress import print_line
from sparsead.report.export import EXPORTS
from sparsead.report.formats import FORMATS, to_plain
from sparsead.report.replacing import write_asked_file
from sparsead.report.screen import screen_width
from sparsead.report.signed import format_score
from sparsead.runs.deletion import (
    delete_permanently,
    is_recorded_anew,
    move_to_trash,
    restore_from_trash,
    trash_folder,
)
from sparsead.runs.failure import failure_file
from sparsead.runs.listing import COLUMNS, Filter, Listed, choose_runs, list_runs, shorten_name

_EXAMPLES = "\n\n" + "".join(f"  {line.strip()}\n" for line in __doc__.splitlines()[2:])
_SHOWN = 20
"""Number of runs that are listed before they are deleted."""
_LONGEST_REASON = 300
"""Number of characters of an error that a list shows; the file of the failure has all."""
_RANKED = (
    *("run", "task", "adapter", "pruner", "sparsity", "seed", "score", "state"),
    *("backbone", "metric", "r", "seconds"),
)
"""The columns, the most important first, where a terminal has no room for all."""


def main() -> None:
    """Entry point of `sparsead runs`."""
    named, words = take_action(sys.argv[1:], ACTIONS)
    action = named or "list"
    arguments = _parser(action).parse(words)
    read = _filter if named is None else Filter.read
    wanted = [read(given) for given in arguments.filters]
    outputs: Path = arguments.outputs
    if action == "unpack":  # which chooses none, and would say twice which record is damaged
        every = []
    else:
        every = list_runs(trash_folder(outputs) if action == "restore" else outputs)
    ACTIONS[action](choose_runs(every, wanted), arguments)


def _parser(action: str) -> Parser:
    given = "" if action == "list" else f" {action}"
    actions = to_columns((f"  {name}", purpose) for name, purpose in _PURPOSES.items())
    parser = Parser(
        f"sparsead runs{given}",
        _PURPOSES[action] + _EXAMPLES,
        epilog=f"sparsead runs [ACTION], with ACTION one of\n{actions}",
    )
    if action == "unpack":
        parser.add_argument("file", type=user_path, help="an archive that `runs pack` wrote")
        parser.set_defaults(filters=[])
        add_outputs(parser)
        return parser
    if action in ("export", "pack"):
        suffixes = ".parquet, .csv or .json" if action == "export" else ".parquet"
        parser.add_argument("file", type=user_path, help=f"ends in {suffixes}")
    where = (
        f"KEY=PATTERN with KEY one of {', '.join(COLUMNS)}, or a key of a run such as "
        "protocol.epochs; all must match"
    )
    parser.add_argument("filters", nargs="*", default=[], metavar="FILTER", help=where)
    add_outputs(parser)
    if action == "list":
        parser.add_argument("--format", choices=sorted(FORMATS), help="default: plain columns")
        add_wide(parser)
        add_json(parser)
    if action == "delete":
        parser.add_argument("--all", action="store_true", help="delete every run")
        parser.add_argument("--yes", action="store_true", help="delete without asking")
        kept = "do not keep the runs in the trash folder"
        parser.add_argument("--permanently", action="store_true", help=kept)
    return parser


def _filter(given: str) -> Filter:
    """Read the filter of a list, for which the name of an action may be misspelt."""
    if given in ACTIONS:
        raise ConfigError(f"{given}: comes before the filters, as in sparsead runs {given} FILTER")
    if "=" not in given:
        example = suggest_override(given) or "task=mrpc"
        allowed = unknown("runs", given, ACTIONS)
        raise ConfigError(f"{allowed}, or a filter KEY=PATTERN such as {example}")
    return Filter.read(given)


def _list(runs: list[Listed], arguments: Namespace) -> None:
    form = read_format(arguments)
    if form is not None:
        sys.stdout.write(FORMATS[form](COLUMNS, [run.row for run in runs]))
    elif not runs and screen_width() is not None:
        which = "match these filters" if arguments.filters else "yet; `sparsead train` makes one"
        sys.stdout.write(f"{arguments.outputs}: no runs {which}\n")
    else:
        _show(runs, wide=arguments.wide)
        _show_reasons(runs, arguments.outputs)


def _delete(runs: list[Listed], arguments: Namespace) -> None:
    """Move the runs to the trash, or delete them for good; without a filter only with --all."""
    if not arguments.filters and not arguments.all:
        raise ConfigError(
            f"runs delete: would delete all {pluralize(len(runs), 'run')}; give a filter such as "
            "state=failed, or --all"
        )
    running = [run for run in runs if run.row["state"] == "running"]
    runs = [run for run in runs if run not in running]
    if running:
        print_line(f"left out {pluralize(len(running), 'run')} that a process is training")
    if not runs:
        sys.stdout.write("no runs match\n")
        return
    _show(runs[:_SHOWN])
    if len(runs) > _SHOWN:
        sys.stdout.write(f"… and {len(runs) - _SHOWN} more\n")
    if not arguments.yes and not _is_confirmed(len(runs)):
        sys.stdout.write("nothing deleted\n")
        return
    names = [run.row["run"] for run in runs]
    outputs: Path = arguments.outputs
    if arguments.permanently:
        delete_permanently(outputs / "runs", names)
        sys.stdout.write(f"deleted {pluralize(len(runs), 'run')}\n")
        return
    move_to_trash(outputs, names)
    where = outputs_option(outputs)
    print_line(
        f"moved {pluralize(len(runs), 'run')} to {trash_folder(outputs)}; "
        f"`sparsead runs restore{where}` puts them back"
    )


def _show(runs: Sequence[Listed], *, wide: bool = False) -> None:
    """Print the runs; on a terminal by the beginning of their identity, which names them too."""
    rows = [run.row | {"score": _two_places(run.row["score"])} for run in runs]
    if screen_width() is not None and not wide:
        rows = [row | {"run": shorten_name(row["run"])} for row in rows]
    sys.stdout.write(to_plain(COLUMNS, rows, _RANKED, wide=wide))
    sys.stdout.flush()


def _show_reasons(runs: Sequence[Listed], outputs: Path) -> None:
    """Print why each run failed and where its traceback is, if the list has only failed runs."""
    if any(run.error is None for run in runs):
        return
    for run in runs:
        name = run.row["run"]
        reason = shorten(one_line(str(run.error)), _LONGEST_REASON, placeholder=" …")
        file = failure_file(outputs / "runs" / name)
        print_line(f"{shorten_name(name)}: {reason}; traceback in {file}")


def _two_places(score: float | None) -> str | None:
    return None if score is None else format_score(score)


def _is_confirmed(count: int) -> bool:
    if not sys.stdin.isatty():
        runs = pluralize(count, "run")
        raise ConfigError(f"runs delete: would delete {runs}; confirm with --yes")
    try:
        answer = input(f"delete {pluralize(count, 'run')}? [y/N] ")
    except EOFError:  # Ctrl-D: no answer
        sys.stdout.write("\n")
        return False
    return answer.strip().lower() in ("y", "yes")


def _restore(runs: list[Listed], arguments: Namespace) -> None:
    """Put deleted runs back, except those that have been recorded anew in the meantime."""
    outputs: Path = arguments.outputs
    names = [run.row["run"] for run in runs]
    recorded = [name for name in names if is_recorded_anew(outputs, name)]
    restored = [name for name in names if name not in recorded]
    restore_from_trash(outputs, restored)
    sys.stdout.write(f"restored {pluralize(len(restored), 'run')}\n")
    if recorded:
        print_line(
            f"left {pluralize(len(recorded), 'run')} in {trash_folder(outputs)}, because "
            "they have been run anew"
        )


def _export(runs: list[Listed], arguments: Namespace) -> None:
    """Write the runs to a file, in the format of the file's suffix."""
    file: Path = arguments.file
    if file.suffix not in EXPORTS:
        raise ConfigError(unknown(f"{file}: suffix", file.suffix, EXPORTS))
    if not runs:
        raise RecordError(f"{arguments.outputs}: has no such runs to export")
    write_asked_file(file, EXPORTS[file.suffix](runs))
    sys.stdout.write(f"{file}\n")


def _pack(runs: list[Listed], arguments: Namespace) -> None:
    """Write the records of these runs, without weights, to an archive."""
    from sparsead.runs.archive_writing import pack

    if arguments.file.suffix != ".parquet":
        raise ConfigError(f"{arguments.file}: must end in .parquet")
    over = [run.row["run"] for run in runs if run.row["state"] in ("done", "failed")]
    sources = pack(arguments.outputs, over, arguments.file)
    failed = sum(run.row["state"] == "failed" for run in runs)
    among = f", {failed} of them failed" if failed else ""
    sys.stdout.write(f"{arguments.file}: {pluralize(len(over), 'run')}{among}\n")
    if sources:
        warn(
            f"{arguments.file}: lacks {pluralize(len(sources), 'source')} of its runs: "
            f"{', '.join(sources)}; a table that reads this file leaves out every run that starts "
            "from a missing source"
        )


def _unpack(_: list[Listed], arguments: Namespace) -> None:
    """Add the records of an archive to the runs, for tables that are to be completed here."""
    from sparsead.runs.archive_adding import add_missing

    added, failed = add_missing(arguments.file, arguments.outputs)
    left = f"; {failed} that failed elsewhere may be tried here" if failed else ""
    sys.stdout.write(f"{arguments.outputs}: {pluralize(added, 'run')} added{left}\n")


ACTIONS: dict[str, Callable[[list[Listed], Namespace], None]] = {
    "list": _list,
    "delete": _delete,
    "restore": _restore,
    "export": _export,
    "pack": _pack,
    "unpack": _unpack,
}
_PURPOSES = {
    "list": "list the runs (the default action)",
    "delete": "move the runs that match the filters to the trash folder of the outputs",
    "restore": "put deleted runs back, all or those that match the filters",
    "export": "write the runs that match the filters to a file, with all scores by epoch",
    "pack": "write the records of the runs to an archive, for `sparsead table --records`",
    "unpack": "add the records of an archive that the folder of the runs lacks",
}
