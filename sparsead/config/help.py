"""`sparsead train --help`: the choices, and each key of a configuration with its comment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from sparsead.config.choices import config_folders, list_choices, list_groups
from sparsead.config.comments import choice_comments, read_comments
from sparsead.config.compose import compose_config
from sparsead.config.overrides import expand
from sparsead.config.schema import list_leaves
from sparsead.errors.display import to_columns, to_paragraph

_HEAD = """\
usage: sparsead train [FLAGS] [GROUP=CHOICE…] [KEY=VALUE…]

Train one adapter, pruned at initialisation, and record the run.

  sparsead train adapter=houlsby pruner=snip sparsity=0.4
  sparsead train -m pruner=random,snip sparsity=0.2,0.4,0.6,0.8 seed=1,2,3

A number given to `sparsity` is the share of prunable weights removed.
"""

_FOOT = """
Flags: -m sweep, --quiet print only the run's folder, --json print one object,
--config-dir FOLDER choices of your own, --cfg job print the configuration,
--info how it was composed, --hydra-help Hydra's own flags.
The keys shown are those of the choices: `sparsead train adapter=lora --help`
shows those of LoRA. `sparsead list adapters` says what each choice is.
`sparsead completion bash` prints what completes words in a shell.
"""

_OTHER_GROUPS = ("hydra", "table")
"""Folders of conf/ whose choices are not made on the command line of `sparsead train`."""


def describe_train(overrides: Sequence[str]) -> str:
    """Return the help of `sparsead train`, with the configuration of these overrides.

    Raises:
        ConfigError: an override is wrong.
    """
    config = compose_config(expand(overrides))
    groups = [group for group in list_groups() if group not in _OTHER_GROUPS]
    choices = "".join(to_paragraph(f"{group}:", ", ".join(list_choices(group))) for group in groups)
    settings = to_columns(_settings(config, find_comments(config, groups)))
    return (
        f"{_HEAD}\n== Choices (GROUP=CHOICE) ==\n{choices}\n"
        f"== Configuration (KEY=VALUE) ==\n{settings}{_FOOT}"
    )


def find_comments(config: DictConfig, groups: Sequence[str]) -> dict[str, str]:
    """Return the comments on the keys of a composed configuration, by the keys with their groups.

    Args:
        config: the configuration, including Hydra's own keys.
        groups: the config groups of its choices.
    """
    comments = read_comments(config_folders()[0] / "train.yaml")
    chosen: Mapping[str, Any] = config.hydra.runtime.choices
    for group in groups:
        choice = chosen.get(group)
        if choice in list_choices(group):
            comments |= choice_comments(group, str(choice))
    return comments


def _settings(config: DictConfig, comments: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    values = OmegaConf.to_container(own, resolve=True)
    for key, value in list_leaves("", values):
        comment = find_comment(key, comments)
        yield f"{key}={_written(value)}", f"# {comment}" if comment else ""


def find_comment(key: str, comments: Mapping[str, str]) -> str:
    """Return the comment on a key, or else the one on what it is a part of; "" if there is none."""
    while "." in key:
        if key in comments:
            return comments[key]
        key = key.rpartition(".")[0]
    return comments.get(key, "")


def _written(value: Any) -> str:
    """Return a value as it is typed in an override."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
    return text.removesuffix("\n...\n").strip()
