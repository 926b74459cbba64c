"""The verbs' command-line arguments; wrong ones raise an error of one line, as everywhere else."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NoReturn

from sparsead.config.choices import use_own_folder
from sparsead.config.outputs_folder import check_no_links
from sparsead.config.quoting import format_override
from sparsead.config.schema import expand_user
from sparsead.errors import ConfigError, unknown
from sparsead.errors.display import terminal_width
from sparsead.errors.hints import same_meaning

_PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg")

_TABLE_CHANGES = (
    "backbone=, seeds=, protocol=, tested=, only=row=PATTERN, or any override of sparsead train"
)


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of exiting, and accepts options before or after positionals.

    Every verb takes the two folders in the same forms: `--config-dir FOLDER`, in which a user's own
    choices of the config groups are found, and the outputs as `--outputs FOLDER` or
    `outputs=FOLDER`.
    """

    def __init__(self, prog: str, description: str | None = None, **options: Any) -> None:
        """Create a parser that accepts no abbreviated options.

        Args:
            prog: such as `sparsead table`.
            description: for `--help`; lines that begin with `$` are shown as its examples.
            options: further keyword arguments of `argparse.ArgumentParser`.
        """
        text, examples = _split_examples(description or "")
        options["epilog"] = "\n\n".join(filter(None, [options.get("epilog"), examples])) or None
        super().__init__(
            prog=prog,
            description=text,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )
        if _CONFIG_DIR not in self._option_string_actions:  # Hydra's own parser has it already
            own = "folder with choices of your own, such as pruner/mine.yaml"
            self.add_argument(_CONFIG_DIR, metavar="FOLDER", help=own)

    def parse(self, words: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse `words`, by default those of the command line.

        Raises:
            ConfigError: the verb does not accept one of them, or lacks one that it needs.
        """
        given = self._name_outputs(sys.argv[1:] if words is None else words)
        arguments, left = self.parse_known_intermixed_args(given)
        if left:
            raise ConfigError(self._named(self._describe_unknown(left[0], given)))
        own = arguments.config_dir
        if own is not None and not (own and user_path(own).is_dir()):
            raise ConfigError(f"{_CONFIG_DIR} {own or repr(own)}: is not a folder")
        use_own_folder(own and user_path(own))
        return arguments

    def error(self, message: str) -> NoReturn:
        """Raise a `ConfigError` whose single line also gives the usage."""
        usage = " ".join(self.format_usage().split())
        raise ConfigError(self._named(f"{message} ({usage})"))

    def _name_outputs(self, words: Sequence[str]) -> list[str]:
        """Take the folder of the runs as `--outputs FOLDER` and as `outputs=FOLDER` in every verb.

        Verbs with overrides know the second form, the others the first; users need not know which.
        """
        if "--outputs" in self._option_string_actions:
            return [f"--{word}" if word.startswith("outputs=") else word for word in words]
        if self._takes_overrides:
            return name_outputs(words)
        return list(words)

    @property
    def _takes_overrides(self) -> bool:
        return any(action.dest == "overrides" for action in self._actions)

    def _describe_unknown(self, word: str, words: Sequence[str]) -> str:
        """Return the message about a word that the verb does not take."""
        if not word.startswith("-"):
            return f"{word}: is an unexpected argument"
        option, equals, value = word.partition("=")
        if keys := self._keys_like(option):
            _, *after = words[words.index(word) :]
            value = value if equals else next(iter(after), "VALUE")
            return f"{option}: is not an option; a key is typed as {keys[0]}={value}"
        options = [word for word in self._option_string_actions if word.startswith("--")]
        return unknown("option", option, options)

    def _keys_like(self, option: str) -> list[str]:
        """Return the keys of the configuration that an unknown option is named after."""
        if not self._takes_overrides:
            return []
        from sparsead.config.compose import default_keys

        return same_meaning(option.lstrip("-").replace("-", "_"), default_keys())

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            option = max(action.option_strings, key=len)
            raise ConfigError(self._named(unknown(option, value, action.choices)))

    def _get_value(self, action: argparse.Action, text: str) -> Any:
        """Return what an option's type makes of its value; argparse calls this."""
        try:
            return super()._get_value(action, text)
        except argparse.ArgumentError as error:
            kind = _NUMBERS.get(action.type)
            if kind is None:
                raise
            option = max(action.option_strings, key=len)
            raise ConfigError(self._named(f"{option} {text}: must be {kind}")) from error

    def _named(self, message: str) -> str:
        return f"{self.prog.removeprefix('sparsead ')}: {message}"


_NUMBERS: dict[object, str] = {int: "a whole number", float: "a number"}
"""How a message names the types of options."""
_CONFIG_DIR = "--config-dir"
_VALUED = (_CONFIG_DIR, "--outputs", "--records", "--out", "--format")
"""The options that take a value, of the verbs with actions."""
_EXAMPLE = "$ "
_PLAIN_PATH = re.compile(r"[\w.+-]*/[\w./+-]*", re.ASCII)
"""A path that needs no quotes in an override; without a slash it could be a number, or `true`."""
_WIDEST = 100
"""Number of characters of a line of help on a wide terminal."""


def _split_examples(text: str) -> tuple[str, str]:
    """Return a docstring's paragraphs, broken to the terminal's width, and its examples."""
    width = min(terminal_width(), _WIDEST) - 2
    lines = [line for line in text.splitlines() if not line.strip().startswith(_EXAMPLE)]
    paragraphs = [fill(part, width) for part in "\n".join(lines).strip().split("\n\n")]
    typed = [line.strip() for line in text.splitlines()]
    examples = [f"  {line[len(_EXAMPLE) :]}" for line in typed if line.startswith(_EXAMPLE)]
    return "\n\n".join(paragraphs), "\n".join(["examples:", *examples] if examples else [])


def name_outputs(words: Sequence[str]) -> list[str]:
    """Return a verb's words with `--outputs FOLDER` as the override `outputs=FOLDER`."""
    named: list[str] = []
    left = iter(words)
    for word in left:
        option, equals, folder = word.partition("=")
        if option != "--outputs":
            named.append(word)
        elif folder := folder if equals else next(left, ""):
            plain = _PLAIN_PATH.fullmatch(folder)
            named.append(f"outputs={folder}" if plain else format_override("outputs", folder))
        else:
            raise ConfigError("--outputs: needs a folder")
    return named


def take_action(words: Sequence[str], actions: Iterable[str]) -> tuple[str | None, list[str]]:
    """Return the action that a verb's words begin with, or None, and the words without it.

    Options may stand before it.

    Args:
        words: what follows the verb.
        actions: the verb's actions, such as `delete` of `sparsead runs`.
    """
    left = [*words]
    number = 0
    while number < len(left) and left[number].startswith("-"):
        number += 2 if left[number] in _VALUED else 1
    named = number < len(left) and left[number] in actions
    return (left.pop(number) if named else None), left


def user_path(word: str) -> Path:
    """Return the path that a user gave; shells leave the `~` of `--out=~/x` to the program.

    Raises:
        ArgumentTypeError: it is empty, as that of an unset variable in a script.
    """
    if not word:
        raise argparse.ArgumentTypeError("'' is not a path; name a file or folder")
    return Path(expand_user(word))


def folder_of_pictures(text: str) -> Path:
    """Return the folder that `--out` names, in which a PNG and an SVG are written.

    Raises:
        ArgumentTypeError: it is the name of a picture.
    """
    path = user_path(text)
    if path.suffix.lower() in _PICTURES and not path.is_dir():
        raise argparse.ArgumentTypeError(
            f"{text} is the name of a file; give a folder, in which a PNG and an SVG are written"
        )
    return path


def add_overrides(parser: Parser, purpose: str) -> None:
    """Add the positional arguments KEY=VALUE, of which there may be any number."""
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY=VALUE", help=purpose)


def add_table(parser: Parser) -> None:
    """Add the arguments that name a table and override its settings."""
    parser.add_argument("table", metavar="TABLE", help="table1, …, or a path that ends in .yaml")
    add_overrides(parser, _TABLE_CHANGES)


def add_outputs(parser: Parser) -> None:
    """Add the option `--outputs`, the folder of the runs."""
    parser.add_argument(
        "--outputs",
        type=_existing_folder,
        default=Path("outputs"),
        metavar="FOLDER",
        help="folder of the runs (default: outputs)",
    )


def add_records(parser: Parser) -> None:
    """Add the option `--records`, an archive to be read instead of the folder of the runs."""
    where = "read the runs from this archive, which `sparsead runs pack` wrote, and from no folder"
    parser.add_argument("--records", type=user_path, metavar="FILE", help=where)


def add_wide(parser: Parser) -> None:
    """Add the option `--wide`, which shows the columns that do not fit the terminal too."""
    everything = "show all columns, also those that do not fit the terminal"
    parser.add_argument("--wide", action="store_true", help=everything)


def add_json(parser: Parser) -> None:
    """Add the option `--json`, which prints the same as JSON."""
    parser.add_argument("--json", action="store_true", help="print the same as JSON")


def read_format(arguments: argparse.Namespace, default: str | None = None) -> str | None:
    """Return the format that `--format` or `--json` asks for, else the default.

    Raises:
        ConfigError: the two ask for different formats.
    """
    if arguments.json and arguments.format not in (None, "json"):
        raise ConfigError(f"--json: cannot be combined with --format {arguments.format}")
    return "json" if arguments.json else arguments.format or default


def add_output_options(parser: Parser) -> None:
    """Add the options `--quiet` and `--json` of a verb that trains."""
    parser.add_argument(
        "--quiet", action="store_true", help="print only the files that are written"
    )
    parser.add_argument("--json", action="store_true", help="print only the result, as JSON")


def add_run_arguments(parser: Parser) -> None:
    """Add the arguments that name a run and the folder in which to look for it."""
    named = "a run's folder, its identity or any part of its name that no other run has"
    parser.add_argument("run", metavar="RUN", help=named)
    add_outputs(parser)


def add_trust(parser: Parser) -> None:
    """Add the option `--trust`, which names packages whose code a record may name."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="import this package if the run names a class of it; can be given several times",
    )


def _existing_folder(path: str) -> Path:
    if not path or not user_path(path).is_dir():
        raise ConfigError(f"--outputs {path or repr(path)}: is not a folder")
    folder = user_path(path)
    check_no_links(folder)
    return folder
