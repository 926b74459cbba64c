"""The config group `tracking`: where a run is shown while it trains."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from sparsead.config.schema import check_choice, expand_user
from sparsead.errors import ConfigError

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
        if self.folder is not None:
            self.folder = expand_user(self.folder)

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
