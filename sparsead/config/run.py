"""`RunSpec`: the typed configuration of one run, checked before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from omegaconf import DictConfig

from sparsead.config.backbone_folder import describe_folder
from sparsead.config.groups import SPLITS, AdapterSpec, BackboneSpec, TaskSpec
from sparsead.config.own_columns import name_columns
from sparsead.config.own_names import name_task
from sparsead.config.protocol import ProtocolSpec
from sparsead.config.pruning import MINIMUM_KEPT, PrunerSpec, SparsitySpec
from sparsead.config.schema import (
    check_choice,
    check_recordable,
    is_interpolated,
    list_keys,
    read_group,
    to_dataclass,
)
from sparsead.config.seeds import SEED_KEYS, Seeds, check_seed
from sparsead.errors import ConfigError, unknown_key

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
_SCORING_MASKED = ("force", "synflow")
"""The methods of pruners that score a model in which weights of lower scores are set to zero."""


@dataclass(frozen=True)
class RunSpec:
    """The configuration that defines one run; it is checked on construction.

    The location of the run's record does not belong to it: see `sparsead.runs.request`. `seed` is
    the seed of every part of the run that has none of its own: see `seeds`.
    """

    backbone: BackboneSpec
    task: TaskSpec
    adapter: AdapterSpec
    pruner: PrunerSpec
    sparsity: float
    protocol: ProtocolSpec
    seed: int
    device: str
    precision: str
    seed_data: int | None = None
    seed_init: int | None = None
    seed_mask: int | None = None

    def __post_init__(self) -> None:
        check_recordable("", self.to_dict())
        for key in SEED_KEYS:
            check_seed(key, getattr(self, key))
        check_choice("device", self.device, DEVICES)
        check_choice("precision", self.precision, PRECISIONS)
        if self.pruner.method == "none" and self.sparsity > 0:
            raise ConfigError(
                f"sparsity.ratio={self.sparsity:g}: pruner={self.pruner.name} removes nothing; "
                "choose a pruner or sparsity=0"
            )
        if self.pruner.control != "none" and not self.masked:
            raise ConfigError(
                f"pruner.control={self.pruner.control}: at sparsity=0 nothing is removed, so there "
                "is nothing to control; choose a sparsity above 0"
            )
        self.pruner.check_sparsity(self.sparsity)
        self._check_choice_of_weights()
        self._check_temperature()
        self._check_protocol()

    def _check_choice_of_weights(self) -> None:
        """Refuse what cannot be combined with an adapter whose weights the pruner chooses."""
        if not self.adapter.chooses:
            return
        name, pruner = f"adapter={self.adapter.name}", self.pruner
        if self.adapter.start is not None and pruner.method != "none":
            raise ConfigError(
                f"pruner={pruner.name}: with adapter.start={self.adapter.start}, the weights that "
                "were chosen in that run or folder are trained; choose pruner=none"
            )
        if self.adapter.start is None and pruner.method == "none":
            raise ConfigError(
                f"pruner=none: {name} needs a pruner that chooses the weights to train, such as "
                "pruner=random"
            )
        if pruner.density is not None:
            raise ConfigError(
                f"pruner={pruner.name}: keeps {pruner.density} of the weights, and {name} keeps as "
                "many as adapter.budget says"
            )
        if pruner.method in _SCORING_MASKED:
            raise ConfigError(
                f"pruner={pruner.name}: scores the model with weights set to zero, and those of "
                f"{name} keep their values where they are not chosen; choose a pruner that scores "
                "the model as it is, such as pruner=snip"
            )
        if pruner.control == "reinit":
            raise ConfigError(
                f"pruner.control=reinit: draws weights anew, and those of {name} are pretrained"
            )
        if pruner.minimum_kept not in (0, MINIMUM_KEPT):
            raise ConfigError(
                f"pruner.minimum_kept={pruner.minimum_kept:g}: {name} removes no weight, so that "
                "there is no minimum; leave it out"
            )
        if self.protocol.torch_compile:
            raise ConfigError(
                f"protocol.torch_compile=true: cannot be combined with {name}; leave it out"
            )

    def _check_temperature(self) -> None:
        """Refuse to divide logits where the task's loss has none."""
        temperature = self.pruner.options.get("temperature", 1)
        divides = self.pruner.method == "grasp" and self.masked and temperature != 1
        if divides and self.task.predicts == "numbers":
            raise ConfigError(
                f"pruner.temperature={temperature}: divides the logits of a cross-entropy, and "
                f"task={self.task.name} predicts numbers; choose pruner.temperature=1"
            )

    def _check_protocol(self) -> None:
        """Refuse options of the protocol that cannot apply to this task, adapter or device.

        Tasks and adapters of a user's own are checked where they are trained.
        """
        protocol = self.protocol
        unsmoothed = self.task.predicts in ("numbers", "answers")
        if protocol.label_smoothing and unsmoothed:
            raise ConfigError(
                f"protocol.label_smoothing={protocol.label_smoothing:g}: task={self.task.name} "
                "predicts neither classes nor texts"
            )
        if protocol.class_weights is not None and self.task.predicts not in ("classes", None):
            raise ConfigError(
                f"protocol.class_weights={protocol.class_weights}: task={self.task.name} predicts "
                "no classes"
            )
        if protocol.deterministic and self.device in ("cpu", "mps"):
            raise ConfigError(
                f"protocol.deterministic=true: is for CUDA; with device={self.device}, leave it out"
            )
        if protocol.head_learning_rate is not None and self.adapter.options.get("head") == "frozen":
            raise ConfigError(
                f"protocol.head_learning_rate={protocol.head_learning_rate:g}: the head is frozen "
                "(adapter.head=frozen)"
            )

    @property
    def masked(self) -> bool:
        """Whether a pruner chooses among the weights."""
        chooses = self.adapter.chooses and self.adapter.start is None
        return self.sparsity > 0 or chooses

    @property
    def seeds(self) -> Seeds:
        """The seed of each part. A dense run has no mask, so that `seed_mask` does not count."""
        keys = {key: getattr(self, key) for key in (*SEED_KEYS, "sparsity")}
        return Seeds.read({**keys, "adapter": {"options": self.adapter.options}})

    @classmethod
    def from_config(cls, config: DictConfig) -> RunSpec:
        """Read a composed Hydra configuration.

        Raises:
            ConfigError: a value has the wrong type, is out of range or is not a known choice.
        """
        _check_keys(config)
        sparsity = read_group(config, "sparsity", SparsitySpec)
        assert sparsity.ratio is not None
        return cls(
            backbone=read_group(describe_folder(config), "backbone", BackboneSpec),
            task=read_group(name_columns(name_task(config)), "task", TaskSpec),
            adapter=read_group(config, "adapter", AdapterSpec).scaled(sparsity.scale),
            pruner=read_group(config, "pruner", PrunerSpec),
            sparsity=sparsity.ratio,
            protocol=read_group(config, "protocol", ProtocolSpec),
            **asdict(to_dataclass("", _RunKeys, {key: config[key] for key in _RUN_KEYS})),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSpec:
        """Return the run from the values that `to_dict` returned."""
        sections = {group: schema(**values[group]) for group, schema in SECTIONS.items()}
        return cls(**{**values, **sections})

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain JSON values, in the order of the fields."""
        return asdict(self)


def drop_local_files(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `RunSpec.to_dict` with the hub's data and weights instead of local ones.

    Local files are checked where a `RunSpec` is made; without them, the values of a run that was
    trained elsewhere can be read too.
    """
    task = values["task"] | dict.fromkeys(("path", *SPLITS))
    return {**values, "task": task, "backbone": values["backbone"] | {"path": None}}


@dataclass
class _RunKeys:
    seed: int
    device: str
    precision: str
    seed_data: int | None
    seed_init: int | None
    seed_mask: int | None


SECTIONS: dict[str, Any] = {
    "backbone": BackboneSpec,
    "task": TaskSpec,
    "adapter": AdapterSpec,
    "pruner": PrunerSpec,
    "protocol": ProtocolSpec,
}
"""The typed config groups of a run; `sparsity` is resolved into a number."""
_RUN_KEYS = tuple(f.name for f in fields(_RunKeys))
_PLACE_KEYS = ("outputs", "rerun", "threads", "tracking")


def _check_keys(config: DictConfig) -> None:
    """Refuse an added key (+key=) that nothing reads and a removed key (~key); Hydra accepts both.

    An added key is allowed if another value refers to it: `+width=32 adapter.bottleneck=${width}`.
    """
    known = (*SECTIONS, "sparsity", *_RUN_KEYS, *_PLACE_KEYS)
    for key in config:
        if key not in (*known, "search", "hydra") and not is_interpolated(str(key), config):
            raise ConfigError(unknown_key(str(key), known, list_keys(config)))
    for key in known:
        if key not in config:
            raise ConfigError(f"{key}: is missing")
    for group in (*SECTIONS, "sparsity", "tracking"):
        if not isinstance(config[group], DictConfig):
            raise ConfigError(f"{group}={config[group]}: must have keys and values")
