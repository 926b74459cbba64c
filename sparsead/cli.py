"""The command line: each verb is a module of `sparsead.commands`, imported only when called."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import sys
from pathlib import Path

from sparsead.config.threads import bound_spinning
from sparsead.errors import SparseadError, fail, unknown
from sparsead.errors.display import survive_closed_pipes
from sparsead.errors.own_code import describe_own_error

_COMMANDS = "sparsead.commands"
_FIRST = ("train", "reproduce", "plan", "table")
"""The verbs that the help lists first; the others follow by name."""


def main() -> None:
    """Run `sparsead VERB ARGUMENTS…`; a user's mistake prints one line and exits with status 2."""
    survive_closed_pipes()
    verb, *arguments = sys.argv[1:] or ["--help"]
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
    verbs = _verbs()
    if verb not in verbs:
        fail(unknown("verb", verb, [*verbs, "--help", "--version"]))
    sys.argv = [f"sparsead {verb}", *arguments]
    bound_spinning()
    try:
        importlib.import_module(f"{_COMMANDS}.{verb}").main()
    except SparseadError as error:
        fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        fail(f"{error.filename}: {error.strerror}")
    except Exception as error:
        own = describe_own_error(error)
        if own is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        fail(own)


def _verbs() -> dict[str, Path]:
    """Return each verb's file, in the order in which the help lists the verbs."""
    folders = importlib.import_module(_COMMANDS).__path__
    names = [module.name for module in pkgutil.iter_modules(folders)]
    names.sort(key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return {name: Path(folders[0], f"{name}.py") for name in names}


def _purpose(file: Path) -> str:
    """Return what a verb does: the first line of its docstring, read without importing the file."""
    line = (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").splitlines()[0]
    return line.partition(": ")[2].rstrip(".")


def _help() -> str:
    verbs = "\n".join(f"  {verb:<9} {_purpose(file)}" for verb, file in _verbs().items())
    return (
        "usage: sparsead VERB [ARGUMENTS…]\n\n"
        "Adapters pruned at initialisation: train them, compare them, trust the answer.\n\n"
        f"{verbs}\n\n"
        "  sparsead train adapter=houlsby pruner=snip sparsity=0.4\n"
        "  sparsead train --help    choices and configuration\n"
        "  sparsead help VERB       what a verb takes\n"
        "  sparsead --version\n"
    )
