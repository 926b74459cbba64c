"""Values of overrides with characters that Hydra's grammar has no place for: put into quotes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from sparsead.config.schema import expand_user
from sparsead.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_OVERRIDE = re.compile(r"(?P<key>\+{0,2}[\w./@:-]+)=(?P<value>.*)", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9_./+-]*")
_OPENING = ("[", "{", "'", '"')
_PARTS = re.compile(r"""'(?:\\'|[^'])*'|"(?:\\"|[^"])*"|[\[\]{},]|[^\[\]{},]+""")
_QUOTED = re.compile(r"""(?<![^,=])(?P<sign>['"])(?P<text>[\w./+*-]*)(?P=sign)(?![^,])""")
"""A name that is a value, or one of several, in quotes that it does not need."""
_UNQUOTED = re.compile(r"[A-Za-z0-9_\-/.%+@?|$*:\\ ]*|\$\{.*\}")
"""The characters of a value without quotes in Hydra's grammar."""


def outputs_option(outputs: Path) -> str:
    """Return the option that names the folder of the runs, for a shell; none for the usual one."""
    return "" if outputs == Path("outputs") else f" --outputs {shlex.quote(str(outputs))}"


def quote(value: str) -> str:
    r"""Return a value as it stands in quotes in an override: `it's` becomes `'it\'s'`."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    ending = re.search(r"\\*$", escaped)
    return f"'{escaped}{ending.group() if ending else ''}'"


def unquote_values(value: str) -> str:
    """Return the value of an override, or several with commas between, without needless quotes."""
    return _QUOTED.sub(r"\g<text>", value)


def overridden_key(override: str) -> str:
    """Return the key of an override, without the signs that add or remove it."""
    return override.partition("=")[0].lstrip("+~")


def format_override(key: str, value: object) -> str:
    """Return the override that gives `key` this value, whatever characters the value has."""
    return f"{key}={quote(str(value))}"


def quote_override(argument: str) -> str:
    """Put into quotes what Hydra cannot read in an override, and expand a `~` at its beginning.

    A value such as `données.csv`, `a=b.csv` or `x(1).csv` has one meaning only, though Hydra's
    grammar asks for quotes around it. Elements of lists and of sweeps are quoted one by one. What
    Hydra reads, what is no override, and a list or a quote that is not closed are left as they are.

    Raises:
        ConfigError: there is no key, for which Hydra prints a traceback.
    """
    if argument.lstrip("+~").startswith("="):
        raise ConfigError(f"{argument}: cannot be read as KEY=VALUE; it has no key")
    given = _OVERRIDE.fullmatch(argument)
    if given is None or _PLAIN.fullmatch(given["value"]):
        return argument
    key, value = given["key"], expand_user(given["value"])
    by_element = "".join(_quoted_part(part) for part in _PARTS.findall(value))
    whole = value if value.startswith(_OPENING) else quote(value)
    for written in (value, by_element, whole):
        override = f"{key}={written}"
        if _is_readable(override):
            return override
    return argument


def read_value(override: str) -> str:
    """Return the value of an override as a text, without its quotes.

    Raises:
        ConfigError: Hydra cannot read it.
    """
    from hydra.errors import HydraException

    try:
        return str(_parse(quote_override(override)).value())
    except HydraException as error:
        raise ConfigError(f"{override}: cannot be read as KEY=VALUE") from error


def _quoted_part(part: str) -> str:
    """Quote an element that Hydra would not read; brackets, commas and quotes stay as they are."""
    if re.fullmatch(r"""[\[\]{},]|'.+'|".+"|''|\"\"""", part, re.DOTALL):
        return part
    return part if _UNQUOTED.fullmatch(part) else quote(part.strip())


def _is_readable(override: str) -> bool:
    from hydra.errors import HydraException

    try:
        _parse(override)
    except HydraException:
        return False
    return True


def _parse(override: str) -> Override:
    """Read an override by Hydra, whose import takes longer than listing the runs without it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(override)
