"""The content of a record's `result.json`: its type, and what must agree in it."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, get_type_hints

from pydantic import Field, FiniteFloat, StringConstraints
from typing_extensions import TypedDict

from sparsead.config.groups import SPLITS, AdapterSpec, BackboneSpec, TaskSpec
from sparsead.config.protocol import ProtocolSpec
from sparsead.config.pruning import PrunerSpec
from sparsead.config.schema import SPLIT_NAME, check_name, check_recordable
from sparsead.config.seeds import Seeds
from sparsead.config.trust import is_registered
from sparsead.config.values.tasks import check_score_name
from sparsead.errors import ConfigError, RecordError, unknown, unknown_key
from sparsead.runs.checked import check_type, parse_unaltered
from sparsead.runs.trained_weights import count_trained

NAMED_GROUPS = ("backbone", "task", "adapter", "pruner")
"""The config groups whose names a run's folder is named by, in that order."""

SHARES = (
    *("accuracy", "f1", "f1_macro", "matthews_correlation", "pearson", "spearmanr"),
    *("rouge1", "rouge2", "rougeL", "bleu", "chrf", "exact_match", "number_match", "f1_answers"),
)
"""The project's metrics that lie between -1 and 1. A user's own metric may have any value."""

_IDENTITY = re.compile(r"(?:^|_)[0-9a-f]{16}$")
_ROUNDING = 1e-6

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Amount = Annotated[float, Field(ge=0, le=1e15)]
"""Seconds, epochs and shares of the backbone: no real one is larger, and sums stay finite."""
SplitName = Annotated[str, StringConstraints(pattern=rf"^{SPLIT_NAME}$")]
Scores = Annotated[dict[str, FiniteFloat | None], Field(min_length=1)]


def _plain(spec: type) -> Any:
    """Return the type of `dataclasses.asdict` of a spec, which needs no key that has a default."""
    types = get_type_hints(spec)
    required = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(spec)}
    required |= {name: True for name in required if name == "options"}  # every record has them
    keys = {name: types[name] if required[name] else NotRequired[types[name]] for name in required}
    return TypedDict(f"Plain{spec.__name__}", keys)  # type: ignore[operator]


class Config(TypedDict):
    """A run's configuration, as `RunSpec.to_dict` returns it."""

    backbone: _plain(BackboneSpec)  # type: ignore[valid-type]
    task: _plain(TaskSpec)  # type: ignore[valid-type]
    adapter: _plain(AdapterSpec)  # type: ignore[valid-type]
    pruner: _plain(PrunerSpec)  # type: ignore[valid-type]
    protocol: _plain(ProtocolSpec)  # type: ignore[valid-type]
    sparsity: Share
    seed: Count
    seed_data: NotRequired[Count | None]
    seed_init: NotRequired[Count | None]
    seed_mask: NotRequired[Count | None]
    device: NotRequired[str]
    precision: NotRequired[str]


class Parameters(TypedDict):
    """Counts of parameters; `nominal` is the paper's #Param, a share of the backbone's."""

    nominal: Amount
    backbone: NotRequired[Annotated[Count, Field(gt=0)]]
    head: NotRequired[Count]
    trainable_nonzero: NotRequired[Count]
    stored_bytes: NotRequired[Count]


class Counts(TypedDict):
    """The number of prunable weights of a tensor, and of those that were removed."""

    total: Count
    removed: Count


class NotByScore(TypedDict):
    """Weights kept by the minimum per tensor or among equal scores; tensors at the minimum."""

    minimum: Count
    ties: Count
    at_minimum: list[str]


class Sparsity(TypedDict):
    """The sparsity that was asked for and the realised one, with the counts of weights."""

    requested: Share
    realised: Share
    total: Count
    removed: Count
    not_by_score: NotRequired[NotByScore]
    by_tensor: NotRequired[dict[str, Counts]]
    scored_on: NotRequired[list[Count] | None]


class Epoch(TypedDict):
    """One epoch: the losses, and the scores on the validation or the selection split."""

    epoch: Amount
    train_loss: NotRequired[FiniteFloat | None]
    validation_loss: NotRequired[FiniteFloat | None]
    scores: NotRequired[dict[str, FiniteFloat | None]]


class Environment(TypedDict):
    """Where a run was computed, and in which precision; `device` and others are shown as text."""

    peak_memory_bytes: NotRequired[Count | None]
    precision: NotRequired[Literal["fp32", "bf16"]]


class PredictionsFile(TypedDict):
    """The file of a split's predictions: the number of examples in it, and its SHA-256."""

    examples: Count
    sha256: Sha256


Predictions = Annotated[dict[SplitName, PredictionsFile], Field(min_length=1)]
"""The files of a run's predictions by split; the split of the run's scores is the first."""


class SourceOfRun(TypedDict):
    """Where weights or rows came from; without `hub` they were the user's own, or generated."""

    hub: NotRequired[str]
    config: NotRequired[str]
    commit: NotRequired[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]]
    files: NotRequired[dict[str, Sha256]]


class Summary(TypedDict):
    """The part of a result that lists and tables need; the index of the records holds it.

    `directions` says which values of a score are better, of each score of which that is known;
    `higher_is_better` says it of the main score. Older records have one of them or none.
    """

    scores: Scores
    config: Config
    identity: Hash
    setting: Hash
    selection: NotRequired[Scores]
    higher_is_better: NotRequired[bool]
    directions: NotRequired[dict[str, Literal["higher", "lower"]]]
    collapsed: NotRequired[bool]
    parameters: Parameters
    sparsity: Sparsity
    seconds: dict[str, Amount]
    resumed_from_epoch: NotRequired[Amount]
    sources: NotRequired[dict[Literal["backbone", "task"], SourceOfRun]]


class Result(Summary):
    """The whole content of `result.json`. A score that is not finite is null."""

    history: NotRequired[list[Epoch]]
    best_epoch: NotRequired[Amount]
    environment: NotRequired[Environment]
    provenance: NotRequired[dict[str, Any]]
    predictions: NotRequired[Predictions]
    data: NotRequired[dict[str, Any]]
    from_data: NotRequired[dict[str, Any]]


class _Learned(TypedDict):
    """The options that the project's own tasks learn from their data (`LearnsOptions`)."""

    labels: NotRequired[list[str]]


class _OfOwnTask(TypedDict):
    from_data: NotRequired[_Learned]


def read_result(file: Path) -> dict[str, Any]:
    """Return the content of `result.json`.

    Raises:
        RecordError: a value is missing, of another type or out of range, or contradicts another, or
            the file was altered.
    """
    try:
        values = parse_unaltered(file)
    except ValueError as error:
        raise RecordError(f"{file.parent}: is not a run ({error})") from error
    try:
        result: Any = check_type(values, Result)
        check_names(result["config"])
        shares = _list_shares(result["config"]["task"])
        for key, scores in _list_scores(result):
            _check_scores(key, scores, shares)
        _check_directions(result)
        _check_sparsity(result["sparsity"], result["config"]["sparsity"])
        count_trained(result)
        _check_learned(result)
    except (ConfigError, ValueError) as error:
        raise RecordError(f"{file}: is not the result of a run ({error})") from error
    return dict(result)


def rebuilt_config(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration from which a run's model is rebuilt: with what the task learned.

    Whatever is to be checked before the model is built has to be checked on this configuration,
    because `from_data` may replace any option of the task.
    """
    config = result["config"]
    options = config["task"]["options"] | result.get("from_data", {})
    return {**config, "task": config["task"] | {"options": options}}


def check_names(config: Mapping[str, Any]) -> None:
    """Check what a recorded configuration is named, sorted and compared by.

    Raises:
        ConfigError: a name could not be a part of a path, the bottleneck is no number, or a number
            is too large to be compared with another.
    """
    check_recordable("config", config)
    for group in NAMED_GROUPS:
        check_name(f"config.{group}.name", config[group]["name"])
    bottleneck = config["adapter"].get("options", {}).get("bottleneck")
    if bottleneck is not None and type(bottleneck) is not int:
        raise ConfigError(f"config.adapter.options.bottleneck={bottleneck}: must be a whole number")


def check_folder(folder: Path, result: Mapping[str, Any]) -> None:
    """Check that a folder with the name of a run holds that run.

    Raises:
        RecordError: it holds another run.
    """
    name = folder.absolute().name
    if is_run_name(name) and not is_named_after(folder, result):
        raise RecordError(f"{folder}: holds another run, {name_of(result)}")


def is_run_name(name: str) -> bool:
    """Tell whether a name can be that of a run's folder: such names end with an identity."""
    return _IDENTITY.search(name) is not None


def is_named_after(folder: Path, result: Mapping[str, Any]) -> bool:
    """Tell whether a folder has the one name under which its run is looked for."""
    return folder.absolute().name == name_of(result)


def name_of(result: Mapping[str, Any]) -> str:
    """Return the name of the folder of the run with this result."""
    config = result["config"]
    names = [config[group]["name"] for group in NAMED_GROUPS]
    return name_run(names, config["sparsity"], Seeds.read(config), result["identity"])


def name_run(names: Sequence[str], sparsity: float, seeds: Seeds, identity: str) -> str:
    """Return the name of a run's folder; `names` are those of `NAMED_GROUPS`, in that order."""
    return f"{'_'.join(names)}_{sparsity:.3g}_seed{seeds}_{identity}"


def _list_scores(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, float | None]]]:
    yield "scores", result["scores"]
    yield "selection", result.get("selection", {})
    for number, epoch in enumerate(result.get("history", ())):
        yield f"history.{number}.scores", epoch.get("scores", {})


def _list_shares(task: Mapping[str, Any]) -> set[str]:
    """Return the names of scores that are shares; those of further splits begin with the split."""
    of_hub = task.get("options", {}).get("hub_splits")
    splits = {*SPLITS, *task.get("files", {}), *(of_hub if isinstance(of_hub, dict) else {})}
    return {*SHARES, *(f"{split}_{share}" for split in splits for share in SHARES)}


def _check_scores(key: str, scores: Mapping[str, float | None], shares: Container[str]) -> None:
    for metric, score in scores.items():
        check_score_name(key, metric)
        if metric in shares and score is not None and not is_share(score):
            raise ConfigError(f"{key}.{metric}={score:g}: must be between -1 and 1")


def _check_directions(result: Mapping[str, Any]) -> None:
    """Check that directions are those of recorded scores, and that the main score has one only."""
    scores, directions = result["scores"], result.get("directions", {})
    if others := [name for name in directions if name not in scores]:
        raise ConfigError(unknown("directions", others[0], scores))
    main = next(iter(scores))
    stated = "higher" if result.get("higher_is_better", True) else "lower"
    if "higher_is_better" in result and directions.get(main, stated) != stated:
        raise ConfigError(
            f"directions.{main}={directions[main]}: higher_is_better says that {stated} is better"
        )


def _check_learned(result: Mapping[str, Any]) -> None:
    """Refuse options that a task of the project does not learn from its data.

    A task of a user's own may learn any others. What they name is checked with the rest of the
    configuration before the task is built: see `rebuilt_config`.
    """
    if not is_registered(result["config"]["task"]["method"]):
        return
    known = get_type_hints(_Learned)
    for option in result.get("from_data", {}):
        if option not in known:
            raise ConfigError(unknown_key(f"from_data.{option}", known))
    check_type(result, _OfOwnTask)


def is_share(score: float) -> bool:
    """Tell whether a score may be one of `SHARES`: between -1 and 1, or nan if it is undefined."""
    return not abs(score) > 1 + _ROUNDING


def _check_sparsity(sparsity: Mapping[str, Any], asked: float) -> None:
    total, removed = sparsity["total"], sparsity["removed"]
    realised = removed / total if total else 0.0
    if not math.isclose(sparsity["realised"], realised, abs_tol=_ROUNDING):
        raise ConfigError(
            f"sparsity.realised={sparsity['realised']:g}: {removed} of {total} weights are "
            f"{realised:g}"
        )
    if not math.isclose(sparsity["requested"], asked, abs_tol=_ROUNDING):
        raise ConfigError(f"sparsity.requested={sparsity['requested']:g}: the run has {asked:g}")
