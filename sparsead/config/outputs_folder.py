"""The folder of the outputs, and what the program itself makes, fills and empties in it."""

from __future__ import annotations

from pathlib import Path

from sparsead.errors import ConfigError

_FOLDERS = (
    *("runs", "runs/.claims", "cache", "reports", "figures", "search", "optuna", "multirun"),
    *("trash", "trash/runs", "trash/runs/.claims"),
)
_WRITTEN_IN_PLACE = ("reports/*", "figures/*", "optuna/*.log", "optuna/.*.lock")
"""Files that are not renamed into place, so that a link in their place would be followed."""


def check_no_links(outputs: Path) -> None:
    """Refuse outputs in which a link stands in the place of a folder or file of the program's own.

    Somebody else may have made the outputs, and a link in them could lead to any folder of the
    user, in which files would then be written and deleted. The outputs folder itself may be a link,
    because its user named it. So may the folder of a record, in which nothing is written.

    Raises:
        ConfigError: there is such a link.
    """
    folders = [outputs / name for name in _FOLDERS]
    found = [folder for folder in folders if folder.is_symlink()]
    if not found:  # otherwise the patterns would look elsewhere
        files = (file for pattern in _WRITTEN_IN_PLACE for file in outputs.glob(pattern))
        found = [file for file in files if file.is_symlink()]
    if found:
        raise ConfigError(
            f"{found[0]}: is a link, through which files would be written or deleted elsewhere; "
            f"remove it, or name another folder with outputs=; only {outputs} itself may be a link"
        )
