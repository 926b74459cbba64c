"""What the files of conf/ say in their comments: about a choice, and about each of its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from sparsead.config.choices import config_folders, find_choice
from sparsead.config.safe_yaml import read_mapping

_EXAMPLE = re.compile(r"# *(sparsead |@package|'?adapter\.\w+\.)")
_SENTENCE = re.compile(r"(?<=\.)\s")


def describe_choice(group: str, choice: str) -> str:
    """Return the first sentence about a choice, without the examples of commands; "" if none.

    It is the title of a table, and for a choice that only says where it comes from its name on the
    hub.

    Raises:
        ConfigError: there is no such choice, or its file is not YAML with keys.
    """
    file = find_choice(group, choice)
    content = read_mapping(file)
    if group == "table":
        return str(content.get("title", ""))
    first = _SENTENCE.split(" ".join(_said(file.read_text("utf-8"))))[0]
    return first.rstrip(".") if first else str(content.get("hub") or "")


def _said(text: str) -> Iterator[str]:
    """Yield the lines of the comment at the top of a file, without the examples of commands."""
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        if not _EXAMPLE.match(line) and "  from " not in line:
            yield line.removeprefix("#").strip()


def read_comments(file: Path) -> dict[str, str]:
    """Return the comments behind the keys of a file, by the keys with their groups.

    The files that its defaults list names say what a key means, and come first; a file's own
    comment on such a key says why it has that value there.

    Raises:
        ConfigError: a file is not YAML with keys.
    """
    content = read_mapping(file)
    text = file.read_text("utf-8")
    root = yaml.compose(text)
    if not isinstance(root, MappingNode):
        return {}
    comments = dict(_comments("", root, text.splitlines()))
    for base in _bases(file, content):
        comments |= read_comments(base)
    return comments


def choice_comments(group: str, choice: str) -> dict[str, str]:
    """Return the comments behind the keys of a choice, by the keys with the group's name."""
    file = find_choice(group, choice)
    own = read_comments(file)
    if file.read_text("utf-8").startswith(_GLOBAL):  # its keys have their groups
        return own
    of_keys = _COMMON | _OF_GROUPS.get(group, {}) | own
    return {f"{group}.{key}": comment for key, comment in of_keys.items()}


_GLOBAL = "# @package _global_"
_COMMON = {
    "name": "the name in the folders of runs and the rows of tables",
    "method": "the name of its code; `_target_: PACKAGE.NAME` in its place names code of your own",
}
"""What is the same in the files of all groups."""

_OF_GROUPS = {
    "adapter": {
        "protocol": "what replaces the values of protocol=default and protocol=paper",
        "start": "a run, or a folder of adapters or peft, whose weights are the initial ones",
        "start_head": "true: the head also starts from `start`, for the same classes",
    },
    "task": {
        "family": "choice in conf/task that reads such data; null: a data set of the project",
        "hub": "name of the data set on the Hugging Face hub",
        "hub_config": "name of the data set's configuration on the hub",
        "hub_revision": "branch, tag or commit of the data set on the hub",
        "hub_splits": "name of each split on the hub",
        "path": "folder with the data files",
        "files": "the file of each split, below `path`",
        "train": "file of the training examples",
        "validation": "file of the examples that are evaluated",
        "test": "file of further examples that are evaluated",
        "tests": "file of a submission: where the unlabelled test set is",
        "columns": "the column of each part of an example",
        "tsv_columns": "the column, in the files below `path`, of each column of the task",
        "tsv_labels": "the classes as those files name them, in the order of `labels`",
        "regression": "true: predict numbers",
        "metrics": "the first is the main score",
        "protocol": "what replaces the values of protocol=default",
    },
}
"""What is the same in the files of one group."""


def _bases(file: Path, content: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files that the defaults list of a file names, if they are in conf/."""
    for name in content.get("defaults") or []:
        if not isinstance(name, str) or name == "_self_":
            continue
        folder = config_folders()[0] if name.startswith("/") else file.parent
        base = folder / f"{name.removeprefix('/')}.yaml"
        if base.is_file():
            yield base


def _comments(prefix: str, mapping: MappingNode, lines: list[str]) -> Iterator[tuple[str, str]]:
    for key, value in mapping.value:
        name = f"{prefix}{key.value}"
        if comment := _comment_behind(key, value, lines):
            yield name, comment
        if isinstance(value, MappingNode):
            yield from _comments(f"{name}.", value, lines)


def _comment_behind(key: Node, value: Node, lines: list[str]) -> str:
    """Return the comment on the last line of a value, and on the lines below it, as one text."""
    is_block = not isinstance(value, ScalarNode) and not value.flow_style
    mark = key.end_mark if is_block else value.end_mark
    if mark.line == len(lines):  # behind a text of several lines (`|`, `>`) at the end of the file
        return ""
    rest = lines[mark.line][mark.column :].lstrip(" :")
    if not rest.startswith("#"):
        return ""
    said = [rest]
    for line in lines[mark.line + 1 :]:
        if not line.lstrip().startswith("#"):
            break
        said.append(line)
    return " ".join(line.strip().removeprefix("#").strip() for line in said)
