"""The flags of `sparsead train`, which are Hydra's; a wrong combination of them is one line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser

from sparsead.config.arguments import Parser
from sparsead.errors import ConfigError

_NO_RERUN = (
    "--experimental-rerun: is not taken here; the same command again resumes a run that was "
    "interrupted, and rerun=true trains a recorded one again"
)
_NO_COMPLETION = (
    "--shell-completion: is not taken here; `sparsead completion bash` (or zsh, or fish) prints a "
    "script that completes words"
)
_COMPLETION = re.compile("(install|uninstall|query)=(bash|fish|zsh)")
"""What follows Hydra's flag for completion."""
_ALONE = {
    "cfg": "--cfg prints the configuration of one run",
    "info": "--info prints how the configuration of one run is composed",
    "run": "--run trains one run",
    "shell_completion": "--shell-completion prints a script",
}
"""Flags that say what is to be done, of which there can be one only; -m is another one."""


def read_flags(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the parsed words of `sparsead train`, and its flags as Hydra takes them.

    Raises:
        ConfigError: a flag is unknown, lacks its value, or cannot be combined with another one.
    """
    parser = Parser("sparsead train", parents=[get_args_parser()], add_help=False)
    arguments = parser.parse(words)
    if arguments.experimental_rerun:
        raise ConfigError(_NO_RERUN)
    if arguments.shell_completion:
        _check_completion(arguments)
    if not (arguments.help or arguments.hydra_help):
        _check_together(arguments)
    return arguments, [word for word in words if word not in arguments.overrides]


def asks_about_run(arguments: argparse.Namespace) -> bool:
    """Tell whether the words are overrides of a run, composed from the files of the project."""
    about_hydra = arguments.hydra_help or arguments.shell_completion
    return not (about_hydra or arguments.config_path or arguments.config_name)


def _check_completion(arguments: argparse.Namespace) -> None:
    """Refuse Hydra's completion of `sparsead train`: shells complete commands of one word only.

    The command `sparsead-train` has it.
    """
    one_word = " " not in Path(sys.argv[0]).name
    typed = " ".join(arguments.overrides)
    if not (one_word and _COMPLETION.fullmatch(typed)):
        raise ConfigError(_NO_COMPLETION)


def _check_together(arguments: argparse.Namespace) -> None:
    chosen = [name for name in _ALONE if getattr(arguments, name)]
    others = [f"--{name.replace('_', '-')}" for name in chosen[1:]] + ["-m"] * arguments.multirun
    if chosen and others:
        raise ConfigError(f"{_ALONE[chosen[0]]}: leave out {' and '.join(others)}")
    for name in ("resolve", "package"):
        if getattr(arguments, name) and not arguments.cfg:
            raise ConfigError(f"--{name}: changes what --cfg prints; add --cfg job")
