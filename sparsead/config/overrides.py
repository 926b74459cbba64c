"""Rewrite overrides that Hydra itself refuses.

They are such as `sparsity=0.4`, `pruner=glob(…)`, `backbone=./FOLDER` and `adapter.config.r=4`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from sparsead.config.backbone_folder import expand_folders
from sparsead.config.choices import list_choices, list_groups
from sparsead.config.quoting import overridden_key, quote_override
from sparsead.errors import ConfigError, unknown

_OPEN = ("adapter.config.", "adapter.config=")
"""Keys of a library's own, which our configuration cannot list: Hydra has to add them."""


def check_texts(name: str, given: Sequence[object]) -> None:
    """Refuse what a call in Python gives in place of several texts.

    Args:
        name: what the texts are called, for the message.
        given: what was given.

    Raises:
        ConfigError: it is one text, or something in it is no text.
    """
    if isinstance(given, str):
        raise ConfigError(f"{name}={given!r}: must be a list of texts, such as [{given!r}]")
    for each in given:
        if not isinstance(each, str):
            raise ConfigError(f"{name}: {each!r}: must be a text, such as 'sparsity=0.4'")


def expand(arguments: Sequence[str]) -> list[str]:
    """Rewrite numbers given to `sparsity`, globs, ranges, folders and values without quotes.

    The result is what Hydra accepts.

    Raises:
        ConfigError: a list mixes numbers with names, a glob matches no choice, a range has no
            values, a group is given a number, null or a list, or the sweeper is given keys; for the
            last two Hydra prints a traceback.
    """
    readable = [quote_override(argument) for argument in expand_folders(arguments)]
    listed = [_list_range(argument) for argument in readable]
    expanded = [_expand_glob(argument) for argument in expand_numeric_sparsity(listed)]
    expanded = [f"++{each}" if each.startswith(_OPEN) else each for each in expanded]
    for argument in expanded:
        _check_choice(argument)
    return expanded


def expand_numeric_sparsity(arguments: Sequence[str]) -> list[str]:
    """Rewrite `sparsity=0.4` (a number, or a list or range of numbers) to `sparsity.ratio=0.4`.

    Hydra refuses a number as the choice of a config group. Of a number and a choice after it, the
    choice alone counts, because the last value of a key does; a number after a choice is that
    choice's ratio. Flags, other keys and overrides that Hydra cannot parse are returned unchanged,
    so that Hydra reports its own errors.

    Raises:
        ConfigError: a list mixes numbers with names of choices.
    """
    expanded = [_expand(argument) for argument in arguments]
    chosen = [place for place, each in enumerate(expanded) if each.startswith("sparsity=")]
    begin = max(chosen, default=0)
    return [
        each
        for place, (typed, each) in enumerate(zip(arguments, expanded, strict=True))
        if place >= begin or each == typed
    ]


def _expand(argument: str) -> str:
    if not argument.startswith("sparsity="):
        return argument
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return argument
    numeric = [_is_number(value) for value in _values(override)]
    if all(numeric):
        return argument.replace("sparsity=", "sparsity.ratio=", 1)
    if any(numeric):
        raise ConfigError(f"{argument}: mixes numbers and names; sweep them one kind at a time")
    return argument


def _list_range(argument: str) -> str:
    """Rewrite `sparsity=range(0.1,0.4,0.1)` to the list of its values, `sparsity=0.1,0.2,0.3`.

    Hydra adds the steps as binary fractions, and 0.30000000000000004 would be another run than 0.3.
    Ranges of whole numbers are returned unchanged.

    Raises:
        ConfigError: the range has no values.
    """
    key, _, value = argument.partition("=")
    if "range(" not in value:
        return argument
    sweep = _read_sweep(argument)
    if not isinstance(sweep, RangeSweep):
        return argument
    start, stop, step = (Decimal(str(each)) for each in (sweep.start, sweep.stop, sweep.step))
    if not all(each.is_finite() for each in (start, stop, step)) or not (stop - start) * step > 0:
        raise ConfigError(f"{argument}: has no values; its form is range(start,stop,step)")
    if all(isinstance(each, int) for each in (sweep.start, sweep.stop, sweep.step)):
        return argument
    number = math.ceil((stop - start) / step)
    values = ",".join(repr(float(start + place * step)) for place in range(number))
    return f"{key}=shuffle({values})" if sweep.shuffle else f"{key}={values}"


def _expand_glob(argument: str) -> str:
    """Rewrite `pruner=glob(snip*)` to the list of the choices that match.

    Hydra itself ignores subfolders, as in `experiment=glob(table3/*)`, and folders of the user's
    own; and it runs nothing at all for a glob of another key.
    """
    group, _, value = argument.partition("=")
    if not value.startswith("glob("):
        return argument
    glob = _read_sweep(argument)
    if not isinstance(glob, Glob):
        return argument
    choices = list_choices(group) if group.partition("/")[0] in list_groups() else []
    if not choices:
        raise ConfigError(
            f"{argument}: a glob is for the names of choices, as in pruner=glob(snip*); give "
            f"{overridden_key(argument)} a list of values"
        )
    chosen = glob.filter(choices)
    if not chosen:
        raise ConfigError(f"{argument}: matches none of {', '.join(choices)}")
    return f"{group}={','.join(chosen)}"


def _read_sweep(argument: str) -> object:
    """Return an override's value, such as a range; None if Hydra will refuse it."""
    try:
        value: object = OverridesParser.create().parse_override(argument).value()
    except HydraException:
        return None
    return value


def _check_choice(argument: str) -> None:
    name, equals, _ = argument.partition("=")
    if overridden_key(argument).startswith("hydra.sweeper.params"):
        raise ConfigError(f"{argument}: type what is to be swept itself, as in -m seed=1,2")
    key = name.lstrip("+")
    if not (equals and key.partition("/")[0] in list_groups() and list_choices(key)):
        return
    if key != name:
        raise ConfigError(f"{argument}: give it without +")
    try:
        values = _values(OverridesParser.create().parse_override(argument))
    except HydraException:
        return
    for value in values:
        if isinstance(value, list):
            sweep = f"{name}={','.join(map(str, value))}"
            raise ConfigError(f"{argument}: {name} takes one choice; to sweep, use -m {sweep}")
        if value is None or isinstance(value, int | float) or ".." in str(value).split("/"):
            given = "null" if value is None else str(value)
            raise ConfigError(unknown(name, given, list_choices(name)))


def _values(override: Override) -> Sequence[object]:
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return value.list
    if isinstance(value, RangeSweep):
        return [value.start, value.stop]
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    return [value]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
