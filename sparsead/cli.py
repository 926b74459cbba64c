"""The command line: each verb is imported when it is called, and no more than it needs."""

from __future__ import annotations

import importlib
import sys

from sparsead.errors import SparseadError, fail, unknown

_VERBS = {
    "train": ("sparsead.launch", "train one run, or a sweep with -m"),
    "reproduce": ("sparsead.reproduce", "do what a table lacks, then print it"),
    "plan": ("sparsead.plan", "what a table lacks, and about how long it will take"),
    "runs": ("sparsead.report.runs", "list, filter, delete or export the runs"),
    "predict": ("sparsead.predict", "predict a file's rows with a finished run"),
    "params": ("sparsead.params", "count a run's parameters, bytes and FLOPs without training"),
    "table": ("sparsead.report.table", "print a table by name, or the finished runs"),
    "show": ("sparsead.report.show", "print a run's mask: density, dead units, overlap"),
    "figure": ("sparsead.report.figure", "draw a run's masks, or the figure of a table"),
    "export": (
        "sparsead.export",
        "write a LoRA run as a folder for peft, or merged for transformers",
    ),
    "doctor": ("sparsead.doctor", "what is installed, found and writable here"),
}


def main() -> None:
    """Run `sparsead VERB ARGUMENTS…`; a user's mistake is one line and exit status 2."""
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        sys.stdout.write(_help())
        return
    if verb == "--version":
        sys.stdout.write(f"{importlib.import_module('sparsead').__version__}\n")
        return
    if verb not in _VERBS:
        fail(unknown("verb", verb, [*_VERBS, "--help", "--version"]))
    sys.argv = [f"sparsead {verb}", *arguments]
    try:
        importlib.import_module(_VERBS[verb][0]).main()
    except SparseadError as error:
        fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        fail(f"{error.filename}: {error.strerror}")


def _help() -> str:
    verbs = "\n".join(f"  {verb:<9} {purpose}" for verb, (_, purpose) in _VERBS.items())
    return (
        "usage: sparsead VERB [ARGUMENTS…]\n\n"
        "Adapters pruned at initialisation: train them, compare them, trust the answer.\n\n"
        f"{verbs}\n\n"
        "  sparsead train adapter=houlsby pruner=snip sparsity=0.4\n"
        "  sparsead train --help    choices and configuration\n"
        "  sparsead --version\n"
    )
