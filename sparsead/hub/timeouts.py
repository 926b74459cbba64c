"""The variables by which users say how long the hub is waited for; checked without its client."""

from __future__ import annotations

import os

from sparsead.errors import ConfigError

_TIMEOUTS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")


def check_timeouts() -> None:
    """Refuse a time that is no whole number, at which the import of the hub's client would end.

    Raises:
        ConfigError: the message names the variable and its value.
    """
    for name in _TIMEOUTS:
        seconds = os.environ.get(name)
        if seconds is not None and not (seconds.isascii() and seconds.isdecimal()):
            raise ConfigError(
                f"{name}={seconds}: must be a whole number of seconds, as in {name}=60"
            )
