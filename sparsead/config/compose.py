"""Compose and check one run's overrides without Hydra's main; put Hydra's errors into one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigTypeError, OmegaConfBaseException, ValidationError
from yaml import MarkedYAMLError

from sparsead.config.choices import list_choices, read_choice, search_path, suggest_override
from sparsead.config.overrides import expand
from sparsead.config.own_columns import list_families
from sparsead.config.own_files import check_own_files
from sparsead.config.run import RunSpec
from sparsead.config.schema import list_keys
from sparsead.errors import ConfigError, unknown, unknown_key

Read = TypeVar("Read")

CONFIGURATION_ERRORS = (
    HydraException,
    OmegaConfBaseException,
    MarkedYAMLError,
    UnicodeDecodeError,
)
"""What Hydra raises for wrong overrides, and for files of the user's own that are wrong."""

_OTHER_ERRORS = (
    *(ValueError, OSError, RecursionError, TypeError, AttributeError, LookupError),
    AssertionError,
)
"""What Hydra and OmegaConf raise besides, where they meet values that they do not expect."""


def compose(overrides: Sequence[str]) -> RunSpec:
    """Return the checked run that `sparsead train OVERRIDES` would train.

    Raises:
        ConfigError: an override is wrong.
    """
    return compose_as(RunSpec.from_config, overrides)


def compose_as(read: Callable[[DictConfig], Read], overrides: Sequence[str]) -> Read:
    """Compose the configuration of one run, and return the result of `read` on it.

    Args:
        read: reads a composed configuration, such as `RunSpec.from_config`.
        overrides: overrides as `sparsead train` takes them.

    Raises:
        ConfigError: an override is wrong.
    """
    config = compose_config(expand(overrides))
    check_no_grid(config, overrides)
    if "search" in config:
        chosen = config.hydra.runtime.choices.get("search")
        raise ConfigError(f"search={chosen}: works only with `sparsead train`")
    try:
        return read(config)
    except CONFIGURATION_ERRORS as error:
        raise ConfigError(describe_error(error)) from error


def compose_config(overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
    """Return the composed configuration with Hydra's own keys; its values are not checked.

    Args:
        overrides: overrides as Hydra takes them; see `expand`.
        mode: MULTIRUN composes what a sweep starts with, in which the swept keys are not set yet.

    Raises:
        ConfigError: an override or a file of the user's own is wrong.
    """
    words = [*search_path(), *overrides]
    with initialised():
        check_own_files(overrides)
        try:
            if mode is RunMode.RUN:
                return hydra.compose("train", words, return_hydra_config=True)
            loader = GlobalHydra.instance().config_loader()
            return loader.load_configuration("train", words, mode, validate_sweep_overrides=False)
        except CONFIGURATION_ERRORS as error:
            raise ConfigError(describe_error(error)) from error
        except _OTHER_ERRORS as error:
            raise ConfigError(f"cannot be composed: {_first_line(error)}") from error


def check_no_grid(config: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse a configuration that defines a sweep, such as search=grid, where one run is expected.

    Args:
        config: composed configuration, including Hydra's own keys.
        overrides: the overrides that it was composed from; they fix a swept key to one value.

    Raises:
        ConfigError: a swept key is not fixed by the overrides.
    """
    given = {override.partition("=")[0].lstrip("+") for override in overrides}
    swept = [key for key in list_swept_keys(config) if key not in given]
    if swept:
        chosen = " ".join(
            o for o in overrides if o.startswith(("search=", "protocol=", "experiment="))
        )
        raise ConfigError(
            f"{chosen}: sweeps {', '.join(swept)}; give one value of each here, or run the whole "
            "sweep with a separate sparsead train -m"
        )


def list_swept_keys(config: DictConfig) -> list[str]:
    """Return the keys that a configuration itself sweeps, through `hydra.sweeper.params`."""
    return [str(key) for key in OmegaConf.select(config, "hydra.sweeper.params") or {}]


@contextmanager
def initialised() -> Iterator[None]:
    """Let Hydra read the project's configuration inside the block.

    A job of the project's own has initialised it already. Another program, which calls this one
    from Python, may have initialised Hydra with its own configuration, and finds that again after
    the block.
    """
    if _reads_our_configuration():
        yield
        return
    other, version = GlobalHydra.instance().hydra, VersionBase.instance().version_base
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_module(_MODULE, version_base="1.3", job_name="train"):
            yield
    finally:
        GlobalHydra.instance().hydra = other
        VersionBase.instance().version_base = version


_MODULE = "sparsead.conf"


def _reads_our_configuration() -> bool:
    """Tell whether Hydra is initialised, and its main configuration is the project's."""
    if not GlobalHydra.instance().is_initialized():
        return False
    places = GlobalHydra.instance().config_loader().get_search_path().get_path()
    return any((place.provider, place.path) == ("main", f"pkg://{_MODULE}") for place in places)


def describe_error(error: BaseException) -> str:
    """Return an error's message in one line, with the most similar choice if a name is unknown."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _describe_unknown_choice(str(error.missing_cfg_file), error.options)
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark
        where = f"{mark.name}:{mark.line + 1}: " if mark else ""
        return f"{where}is not YAML ({error.problem})"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read as KEY=VALUE{_describe_form(error.override)}"
    if str(error).startswith("Ambiguous value"):
        return f"{_first_line(error)}: add -m to sweep over its values; {_QUOTES}"
    if isinstance(error, ConfigCompositionException):
        return _describe_composition(error)
    key = getattr(error, "full_key", None)
    return f"{key}: {_first_line(error)}" if key else _first_line(error)


def _describe_form(override: str) -> str:
    """Return a hint at how to type an override that Hydra could not read."""
    if "=" in override:
        return f"; {_QUOTES}"
    meant = suggest_override(override)
    return ", such as pruner=snip" if meant is None else f"; did you mean {meant}?"


_QUOTES = """a comma or bracket of a value itself needs quotes, as in "task.train='a,b.csv'\""""


def _describe_unknown_choice(file: str, options: Sequence[str]) -> str:
    if file.startswith("hydra/"):
        group, _, choice = file.rpartition("/")
        if group == "hydra/launcher" and choice in _LAUNCHERS:
            extra = _LAUNCHERS[choice]
            return f"{group}={choice}: is not installed; pip install 'sparsead[{extra}]'"
        return unknown(group, choice, options)
    group, _, choice = file.partition("/")  # a choice may have a `/`, but no group of ours has one
    # Hydra's list omits choices that lie in subfolders, as experiments do.
    choices = {*list_choices(group), *options}
    if group == "backbone" and "/" in choice:
        return _describe_hub(choice, sorted(choices))
    return unknown(group, choice, choices)


def _describe_hub(name: str, choices: Sequence[str]) -> str:
    """Return the message about a backbone that is given by what may be a model's name on the hub.

    Names that resemble it, such as bert-base-cased for bert-base-uncased, are other models.
    """
    same = [each for each in choices if read_choice("backbone", each).get("hub") == name]
    if same:
        return f"backbone={name}: no such choice; this model of the hub is backbone={same[0]}"
    return (
        f"backbone={name}: no such choice; a model of the hub is given as backbone.hub={name} "
        "beside the backbone of its architecture, or by the folder that it was downloaded to, as "
        f"backbone=./FOLDER (allowed: {', '.join(choices)})"
    )


_LAUNCHERS = {
    "joblib": "joblib",
    "ray": "ray",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
}
"""The extra of this project that installs each of Hydra's launchers."""


def _describe_composition(error: ConfigCompositionException) -> str:
    """Return the message about an override that does not fit the configuration, with its hints."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        return f"{cause.full_key}: {_first_line(cause)}"
    if isinstance(cause, ConfigTypeError):  # a list in place of a mapping, or the other way round
        override = _first_line(error).removeprefix("Error merging override ")
        return f"{override}: must be {'a mapping' if cause.object_type is dict else 'a list'}"
    parent = getattr(cause, "parent_node", None)
    if isinstance(cause, OmegaConfBaseException) and isinstance(parent, DictConfig):
        return _describe_unknown_key(error, str(cause.full_key), parent)
    lines = [line.strip().rstrip(".:") for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith(_SAYS_NOTHING))


def _describe_unknown_key(error: BaseException, missing: str, parent: DictConfig) -> str:
    typed = _TYPED.search(str(error))
    key = typed[1] if typed and not missing.startswith(f"{typed[1]}.") else missing
    if missing == "search":
        return f"{key}: {_NO_SEARCH}"
    if tasks := _families_with(key):
        return (
            f"{key}: no such key of this task; it is a key of task={', '.join(tasks)} "
            f"(allowed here: {', '.join(sorted(map(str, parent)))})"
        )
    if key.startswith(_OF_LIBRARY):
        return f"{key}: no such key; a key that is not there yet is added as +{key}=VALUE"
    unchosen = () if "." in missing else _UNCHOSEN
    allowed = {*map(str, parent), *unchosen} - {"hydra"}
    everywhere = [*list_keys(cast(DictConfig, parent._get_root())), *_UNCHOSEN]
    return unknown_key(key, allowed, everywhere)


def _families_with(key: str) -> list[str]:
    """Return the tasks for data of the user's own that have this key."""
    if key.rpartition(".")[0] != "task":
        return []
    with initialised():
        return [
            family
            for family in list_families()
            if key in list_keys(hydra.compose("train", [*search_path(), f"task={family}"]))
        ]


_SAYS_NOTHING = ("Config search path", "provider=", "full_key", "object_type=")
"""How lines of Hydra's messages begin that tell users nothing about what is wrong."""

_TYPED = re.compile(r"Could not override '([\w./@:-]+)'")

_OF_LIBRARY = "protocol.scheduler_options."
"""How keys of a library's own begin, which our configuration cannot list."""

_UNCHOSEN = ("experiment", "search")
"""The optional groups: without a choice, the configuration does not contain their key at all."""

_NO_SEARCH = (
    "needs search=asha; a grid is typed as protocol.learning_rate=1e-4,2e-4 beside search=grid"
)


def default_keys() -> list[str]:
    """Return all keys of the default configuration with their groups."""
    with initialised():
        return list_keys(hydra.compose("train"))


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
