"""The command line: each verb is a module of `sparsead.commands`, imported only when called."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from sparsead.config.choices import list_choices
from sparsead.config.threads import bound_spinning
from sparsead.config.tracebacks import wants_traceback
from sparsead.errors import (
    SparseadError,
    describe_file_error,
    fail,
    fail_if_output_is_lost,
    refuse_windows,
    unknown,
)
from sparsead.errors.display import protect_output, tell, terminal_width
from sparsead.errors.memory import describe_lack_of_memory
from sparsead.errors.own_code import describe_own_error
from sparsead.hub.timeouts import check_timeouts

_COMMANDS = "sparsead.commands"
_FIRST = ("train", "reproduce", "plan", "table")
"""The verbs that the help lists first; the others follow by name."""
_MARGIN = 14
"""Number of characters before what the help says of a verb."""
_WIDEST = 100
_INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""
_SHOWN_GROUPS = ("adapter", "pruner", "task", "backbone")


def main() -> None:
    """Run `sparsead VERB ARGUMENTS…`; a user's mistake prints one line and exits with status 2."""
    try:
        refuse_windows()
    except SparseadError as error:
        fail(str(error))
    protect_output()
    try:
        _obey(*(sys.argv[1:] or ["--help"]))
    except SystemExit as ended:  # argparse ends so after it has printed a verb's help
        if ended.code:
            raise
    fail_if_output_is_lost()


def _obey(verb: str, *words: str) -> None:
    arguments = list(words)
    if verb == "help" and arguments:
        verb, arguments = arguments[0], ["--help"]
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return
    if verb == "--version":
        sys.stdout.write(f"{importlib.import_module('sparsead').__version__}\n")
        return
    run(verb, arguments)


def run(verb: str, arguments: list[str]) -> None:
    """Run one verb with the given arguments, which replace those of the command line."""
    if verb not in verbs():
        fail(unknown("verb", verb, [*verbs(), "--help", "--version"]))
    sys.argv = [f"sparsead {verb}", *arguments]
    bound_spinning()
    try:
        check_timeouts()
        importlib.import_module(f"{_COMMANDS}.{verb}").main()
    except SparseadError as error:
        if wants_traceback():
            raise
        fail(str(error))
    except KeyboardInterrupt:
        tell("interrupted")
        raise SystemExit(_INTERRUPTED) from None
    except Exception as error:
        known = describe_file_error(error) or describe_lack_of_memory(error)
        own = known or describe_own_error(error)
        if own is None or wants_traceback():
            raise
        fail(own)


def verbs() -> dict[str, Path]:
    """Return each verb's file, in the order in which the help lists the verbs."""
    folders = importlib.import_module(_COMMANDS).__path__
    names = [module.name for module in pkgutil.iter_modules(folders)]
    names.sort(key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return {name: Path(folders[0], f"{name}.py") for name in names}


def _describe(file: Path) -> tuple[str, str]:
    """Return what a verb does and its first example, from its docstring, without importing it."""
    first, *others = (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").splitlines()
    examples = [line.strip()[2:] for line in others if line.strip().startswith("$ ")]
    return first.partition(": ")[2].rstrip("."), (examples or [""])[0]


def _help() -> str:
    described = {verb: _describe(file) for verb, file in verbs().items()}
    lines = "".join(
        _row(verb, purpose) + _row("", example) for verb, (purpose, example) in described.items()
    )
    return (
        "usage: sparsead VERB [ARGUMENTS…]\n\n"
        "Adapters pruned at initialisation: train them, compare them, trust the answer.\n\n"
        f"{lines}\n{''.join(_choices())}\n"
        "  sparsead list pruners    what each choice is\n"
        "  sparsead train --help    each key of a run, with its value and meaning\n"
        "  sparsead help VERB       what a verb takes\n"
        "  sparsead --version\n"
    )


def _choices() -> Iterator[str]:
    """Yield the choices of the groups that most runs choose from, without those for tests."""
    for group in _SHOWN_GROUPS:
        names = [name for name in list_choices(group) if not name.startswith("tiny-")]
        yield _row(f"{group}=", ", ".join(names).replace("folder", "./FOLDER"))


def _row(name: str, text: str) -> str:
    """Return a line of the help, broken to the width of the terminal."""
    width = min(terminal_width(), _WIDEST)
    margin = " " * _MARGIN
    line = f"  {name}".ljust(_MARGIN) + text
    return textwrap.fill(line, width, subsequent_indent=margin, break_on_hyphens=False) + "\n"
