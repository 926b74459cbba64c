"""What a run reads from the hub: at which commit, and whether it is still what was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError
from sparsead.hub.sources import INSTALL_WEIGHTS, Source, data_source, is_commit, model_source


def list_sources(spec: RunSpec) -> list[Source]:
    """Return the model and the data set that a run reads from the hub, as far as it does."""
    found = []
    backbone, task = spec.backbone, spec.task
    if backbone.hub_source is not None:
        installed = None if backbone.package is None else INSTALL_WEIGHTS
        found.append(model_source(backbone.hub_source, backbone.revision, installed))
    if task.hub is not None:
        revision = task.revision or task.options.get("hub_revision")
        config = task.options.get("hub_config")
        found.append(data_source(task.name, task.method, task.hub, config, revision))
    return found


def pin_revisions(spec: RunSpec) -> RunSpec:
    """Return the run with the commits to which the branches and tags that it names point now.

    A run without a revision is returned unchanged: it reads the main branch, whatever is there.

    Raises:
        SourceError: the hub cannot be asked for a commit, and its cache does not know it.
    """
    for source in list_sources(spec):
        section: Any = getattr(spec, source.group)
        if section.revision is not None and not is_commit(section.revision):
            from sparsead.hub.commits import find_commit

            pinned = replace(section, revision=find_commit(source))
            spec = replace(spec, **{source.group: pinned})
    return spec


def describe_sources(spec: RunSpec, weights: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return where a run's weights and rows came from, for the record.

    Args:
        spec: the run.
        weights: the SHA-256 of each of the backbone's weights files.
    """
    described: dict[str, dict[str, Any]] = {"backbone": {"files": dict(weights)}, "task": {}}
    for source in list_sources(spec):
        from sparsead.hub.commits import find_commit

        named = {"hub": source.name, "config": source.config, "commit": find_commit(source)}
        if source.group == "backbone" and spec.backbone.sha256 is not None:
            del named["commit"]  # any commit with the weights of this checksum is the same
        described[source.group] |= {key: value for key, value in named.items() if value is not None}
    return described


def check_unchanged(spec: RunSpec, result: Mapping[str, Any]) -> None:
    """Refuse the record of a run of which the hub has other weights or rows by now.

    A record without a commit cannot be out of date: the run names its commit, or is older than
    the recording of commits.
    If the hub cannot be asked, the commit in its cache counts.

    Args:
        spec: the run that is asked for.
        result: the content of its record's `result.json`.

    Raises:
        ConfigError: the message names both commits, and how to choose between them.
    """
    for source in list_sources(spec):
        recorded = result.get("sources", {}).get(source.group, {}).get("commit")
        if not recorded:
            continue
        from sparsead.hub.commits import resolve

        now = resolve(source).commit
        if now and recorded != now:
            key = f"{source.group}.revision"
            raise ConfigError(
                f"{source}: has changed on the hub since this run was recorded; {key}={recorded} "
                f"reads the recorded commit, {key}={now} the present one, and rerun=true replaces "
                "the record"
            )
