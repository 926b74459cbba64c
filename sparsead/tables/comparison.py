"""A table from the command line: `pruner=snip,largest seed=1,2,3` compares two pruners."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from sparsead.config.compose import compose, describe_error
from sparsead.config.overrides import expand
from sparsead.config.quoting import unquote_values
from sparsead.config.run import RunSpec
from sparsead.config.seeds import check_seed_count, read_seeds
from sparsead.errors import ConfigError
from sparsead.tables.cells import Column, Row, TableSpec

_NAME = "compare"
_OWN = ("seed", "seeds", "task", "backbone")
"""Keys that say which seeds, columns and groups of rows the table has."""
_SEEDS = 5
"""Number of seeds where none are given."""


def compare_table(overrides: Sequence[str]) -> TableSpec:
    """Return the table that compares all values of the swept keys, on the same seeds.

    The first combination is the baseline, with which each other one is compared. Several tasks are
    columns, and several backbones groups of rows.

    Args:
        overrides: as `sparsead train` takes them, some with several values; `seed=1,2,3` or
            `seeds=3` says how many seeds.

    Raises:
        ConfigError: an override is wrong, or no key has several values.
    """
    swept, fixed = _split(overrides)
    for key, values in swept.items():
        if twice := [value for value in values if values.count(value) > 1]:
            raise ConfigError(f"{twice[0]}: is given twice; give each value of {key} once")
    seeds = _take_seeds(swept, fixed)
    backbones = _take_choices("backbone", "minilm", swept, fixed)
    tasks = _take_choices("task", "demo_mrpc", swept, fixed)
    if not swept:
        raise ConfigError(
            "compare: give a key with several values, such as pruner=snip,random; they become the "
            "rows of a table"
        )
    rows = _rows(itertools.product(*swept.values()))
    chosen = [f"backbone={backbones[0]}", *fixed, *rows[0].overrides]
    columns = [Column(task, _main_metric(compose([*chosen, f"task={task}"]))) for task in tasks]
    return TableSpec(
        name=_NAME,
        title=f"{' and '.join(swept)} on {', '.join(tasks)}",
        rows=rows,
        columns=columns,
        backbones=backbones,
        seeds=seeds,
        average=tasks if len(tasks) > 1 else [],
        baseline=rows[0].name,
        baseline_label=rows[0].label,
        comparisons=[row.name for row in rows[1:]],
        overrides=fixed,
    )


def _split(overrides: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the overrides of each key with several values, and the overrides of one value."""
    swept: dict[str, list[str]] = {}
    fixed: list[str] = []
    for override in _parse(overrides):
        if override.key_or_group in _OWN and str(override.input_line).startswith("+"):
            raise ConfigError(f"{override.input_line}: give it without +")
        if not override.is_sweep_override():
            fixed.append(str(override.input_line))
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            swept[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise ConfigError(f"{override.input_line}: compare takes lists of values")
    return swept, fixed


def _parse(overrides: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(expand(overrides))
    except HydraException as error:
        raise ConfigError(describe_error(error)) from error


def _take_seeds(swept: dict[str, list[str]], fixed: list[str]) -> int:
    """Take the seeds out of the overrides, and return how many there are."""
    once = "give the seeds once, as seeds=N or seed=1,…,N"
    chosen = _take_once(("seed", "seeds"), swept, fixed, once)
    values = [override.partition("=")[2] for override in chosen]
    if chosen and chosen[0].startswith("seeds="):
        return read_seeds(",".join(values))
    if values and values != [str(number + 1) for number in range(len(values))]:
        raise ConfigError(
            f"seed={','.join(values)}: compare takes the seeds 1 to N; give seeds=N or seed=1,…,N"
        )
    check_seed_count(seeds := len(values) or _SEEDS)
    return seeds


def _take_choices(
    group: str, default: str, swept: dict[str, list[str]], fixed: list[str]
) -> list[str]:
    """Take the choices of a group out of the overrides; without any there is the default."""
    once = f"give {group} once, as {group}=A,B for several"
    chosen = _take_once((group,), swept, fixed, once) or [f"{group}={default}"]
    return [unquote_values(override.partition("=")[2]) for override in chosen]


def _take_once(
    keys: Sequence[str], swept: dict[str, list[str]], fixed: list[str], once: str
) -> list[str]:
    """Take the overrides of keys of which one may be given, once; return its, or none.

    Raises:
        ConfigError: several are given; the message ends with `once`.
    """
    given = [[override] for override in fixed if override.partition("=")[0] in keys]
    for (override,) in given:
        fixed.remove(override)
    given += [swept.pop(key) for key in keys if key in swept]
    if len(given) > 1:
        said = " and ".join(override for (override, *_) in given)
        raise ConfigError(f"{said}: {once}")
    return given[0] if given else []


def _rows(combinations: Iterable[Sequence[str]]) -> list[Row]:
    """Return a row for each combination of values; names that would be equal get a number."""
    rows: dict[str, Row] = {}
    for values in combinations:
        label = ", ".join(unquote_values(value.partition("=")[2]) for value in values)
        plain = re.sub(r"[^\w.-]+", "-", label)
        numbered = (f"{plain}-{number}" for number in itertools.count(2))
        name = next(each for each in itertools.chain([plain], numbered) if each not in rows)
        rows[name] = Row(name=name, label=label, overrides=list(values))
    return list(rows.values())


def _main_metric(spec: RunSpec) -> str:
    """Return the main metric of a task; a task of the user's own need not name one."""
    scores = spec.task.scores()
    if scores:
        return scores[0]
    return "pearson" if spec.task.options.get("regression") else "accuracy"
