"""`sparsead completion`: print what makes a shell complete verbs, choices, keys and runs.

$ eval "$(sparsead completion bash)"     in ~/.bashrc
$ eval "$(sparsead completion zsh)"      in ~/.zshrc, after compinit
$ sparsead completion fish > ~/.config/fish/completions/sparsead.fish
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sparsead.cli import verbs
from sparsead.config.arguments import Parser
from sparsead.config.choices import list_choices, list_groups
from sparsead.errors import ConfigError, unknown

SHELLS = {
    "bash": r"""_sparsead() {
  local line="${COMP_LINE:0:COMP_POINT}" before=""
  local word="${line##* }"
  local IFS=$'\n'
  COMPREPLY=($(sparsead completion words "$line" 2>/dev/null))
  # bash takes `=` for the end of a word, so that only what follows it is inserted.
  [[ $word == *=* && $COMP_WORDBREAKS == *=* ]] && before="${word%=*}="
  COMPREPLY=("${COMPREPLY[@]#"$before"}")
  [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -o default -F _sparsead sparsead
""",
    "zsh": r"""_sparsead() {
  local -a found
  found=("${(@f)$(sparsead completion words "$LBUFFER" 2>/dev/null)}")
  compadd -S '' -- ${(M)found:#*=}
  compadd -- ${found:#*=}
}
compdef _sparsead sparsead
""",
    "fish": "complete -c sparsead -a '(sparsead completion words (commandline -cp))'\n",
}
_WORDS = "words"
_NAME = re.compile(r"[\w-][\w.-]*")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_TAKES_RUN = ("show", "predict", "export")
_TAKES_TABLE = ("table", "reproduce", "plan", "figure")
_TAKES_KEYS = (
    *("train", "compare", "params", "variance", "reproduce", "plan", "table", "figure", "map"),
)


def main() -> None:
    """Entry point of `sparsead completion`."""
    if sys.argv[1:2] == [_WORDS]:
        sys.stdout.write("".join(f"{word}\n" for word in complete("".join(sys.argv[2:3]))))
        return
    parser = Parser("sparsead completion", __doc__)
    parser.add_argument("shell", metavar="SHELL", help=", ".join(SHELLS))
    shell = parser.parse().shell
    if shell not in SHELLS:
        raise ConfigError(unknown("shell", shell, SHELLS))
    sys.stdout.write(SHELLS[shell])


def complete(line: str) -> list[str]:
    """Return the words that the last word of a command line can be completed to.

    Args:
        line: the command line up to the cursor, beginning with `sparsead`.
    """
    *before, word = line.split(" ")
    known = [each for each in before[1:] if each]
    if not known:
        return _matching(word, [*verbs(), "--help", "--version"])
    verb, *arguments = known
    if verb not in verbs():
        return []
    if word.startswith("-"):
        return _matching(word, _options(verb, arguments))
    if "=" in word:
        return _values(word)
    return _matching(word, _words(verb, arguments))


def _words(verb: str, arguments: list[str]) -> list[str]:
    """Return what may follow, besides options and values."""
    if arguments[-1:] == ["--against"] or (verb == "figure" and arguments == [_module(verb).MASKS]):
        return _runs()
    first = not [each for each in arguments if not each.startswith("-")]
    if verb in _TAKES_RUN:
        return _runs() if first else []
    found: list[str] = []
    if verb == "list":
        found = list(_module(verb).KINDS)
    if verb == "runs" and first:
        found = list(_module(verb).ACTIONS)
    if verb in _TAKES_TABLE and first:
        found = list_choices("table")
    if verb == "figure" and first:
        found += _module(verb).KINDS
    if verb == "completion":
        found = list(SHELLS)
    if verb == "runs" or verb in _TAKES_KEYS:
        found += [f"{key}=" for key in _keys()]
    return found


def _values(word: str) -> list[str]:
    """Return the words KEY=VALUE, after the last comma of several values.

    A group with plus signs has none, because it is given without them.
    """
    key, _, values = word.partition("=")
    *given, last = values.split(",")
    choices = _states() if key == "state" else list_choices(key.rpartition("@")[2])
    begin = "".join(f"{value}," for value in given)
    return [f"{key}={begin}{choice}" for choice in choices if choice.startswith(last)]


def _module(verb: str) -> Any:
    """Return a verb's own module; it is imported only for that verb, as it takes its time."""
    return importlib.import_module(f"sparsead.commands.{verb}")


def _states() -> Sequence[str]:
    from sparsead.runs.listing import STATES  # takes as long as all other imports together

    return STATES


def _keys() -> list[str]:
    from sparsead.config.compose import default_keys

    hidden = ("table", "hydra")
    return list(dict.fromkeys([*(g for g in list_groups() if g not in hidden), *default_keys()]))


def _options(verb: str, arguments: list[str]) -> list[str]:
    """Return a verb's options, as its help names them."""
    action = [each for each in arguments[:1] if not each.startswith("-") and "=" not in each]
    help_text = io.StringIO()
    with contextlib.redirect_stdout(help_text), contextlib.suppress(SystemExit):
        sys.argv = [f"sparsead {verb}", *(action if verb in ("runs", "figure") else []), "--help"]
        _module(verb).main()
    return sorted({*_OPTION.findall(help_text.getvalue()), "--help"})


def _runs() -> list[str]:
    """Return the names of the finished runs in the folder `outputs`, without reading them.

    Folders of other names are left out: a shell might read more into them than a word.
    """
    folder = Path("outputs") / "runs"
    try:
        return sorted(
            e.name for e in os.scandir(folder) if _NAME.fullmatch(e.name) and _is_folder(e)
        )
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def _matching(word: str, words: Iterable[str]) -> list[str]:
    return [each for each in words if each.startswith(word)]
