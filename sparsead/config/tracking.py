"""The config group `tracking`: where a run is shown while it trains."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec

from sparsead.config.quoting import quote
from sparsead.config.schema import check_choice, expand_user
from sparsead.errors import ConfigError

_NAMED = ("trackio", "wandb")
"""Trackers whose project is a part of a path or of an address; MLflow's may have slashes."""
_IN_NO_NAME = re.compile(r"[/\\#?%:]|^\.")

TRACKERS = ("none", "tensorboard", "trackio", "wandb", "mlflow")


@dataclass
class TrackingSpec:
    """A tracker that shows runs while they train; it changes no result.

    `folder` is where it writes, if it has a folder or an address of the user's choice; `project`
    and `group` are what it sorts runs by.
    """

    name: str
    folder: str | None = None
    project: str = "sparsead"
    group: str | None = None

    def __post_init__(self) -> None:
        check_choice("tracking.name", self.name, TRACKERS)
        for key in ("folder", "project", "group"):
            value = getattr(self, key)
            if value is not None and not (value.strip() and value.isprintable()):
                raise ConfigError(f"tracking.{key}={value!r}: must have visible characters only")
        if self.name in _NAMED and _IN_NO_NAME.search(self.project):
            raise ConfigError(
                f"tracking.project={self.project}: a project of {self.name} cannot have any of "
                "/ \\ # ? % : in its name"
            )
        self._check_effects()
        if self.folder is not None:
            self.folder = expand_user(self.folder)

    def _check_effects(self) -> None:
        """Refuse a key that the tracker has not.

        Raises:
            ConfigError: the key would have no effect.
        """
        if self.name == "trackio" and self.folder is not None:
            raise ConfigError(
                f"tracking.folder={self.folder}: trackio takes its folder from the environment "
                "variable TRACKIO_DIR alone"
            )
        for key, unchanged in (("project", "sparsead"), ("group", None)):
            if self.name == "tensorboard" and getattr(self, key) != unchanged:
                raise ConfigError(
                    f"tracking.{key}={getattr(self, key)}: tensorboard has none; its runs are "
                    "kept apart by tracking.folder"
                )

    def check_installed(self) -> None:
        """Refuse a tracker whose package is not installed.

        Raises:
            ConfigError: it is not installed.
        """
        if self.name != "none" and find_spec(self.name) is None:
            raise ConfigError(
                f"tracking={self.name}: the package {self.name} is not installed; "
                f"pip install {self.name}"
            )


def group_tracked(overrides: list[str], name: str | None = None) -> list[str]:
    """Return the overrides of a sweep or a table with a group for its tracked runs.

    Without a tracker that has groups, and where the user named one, they are returned unchanged.

    Args:
        overrides: those of the sweep or the table.
        name: of the group; None takes the words of the sweep.
    """
    parts = [override.partition("=") for override in overrides]
    given = {key.lstrip("+"): value.strip("'\"") for key, _, value in parts}
    if given.get("tracking") in (None, "none", "tensorboard") or "tracking.group" in given:
        return overrides
    words = " ".join(word for word in overrides if not word.startswith(("tracking", "hydra")))
    return [*overrides, f"tracking.group={quote(name or words)}"]
