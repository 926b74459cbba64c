"""Secrets: tokens, keys and passwords, which no file that the program writes may contain."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_NAME = re.compile(
    r"token(?!i[sz])|secret|passw|credential|(?:api|access|private)[_-]?key", re.IGNORECASE
)
"""Names of environment variables, overrides and options whose values are secret."""
_SHORTEST = 8
"""Shorter values are numbers and switches, such as `max_new_tokens=60`."""
_KNOWN = re.compile(
    r"\b(?:hf_|sk-|gh[pousr]_|xox[abp]-)[A-Za-z0-9_-]{16,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
"""Tokens of well-known services, and the user and password in a URL."""
_HIDDEN = "***"


def hide_secrets(value: Any) -> Any:
    """Return a JSON value in whose texts every secret is replaced by `***`.

    Secret are the values of environment variables, of words of the command line, and of keys in
    `value` itself, whose names say so, and whatever has the form of a well-known service's token.
    """
    secrets = sorted(set(_list_secrets(value)), key=len, reverse=True)
    return _hide(value, secrets)


def _hide(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, dict):
        return {key: _hide(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide(item, secrets) for item in value]
    if not isinstance(value, str):
        return value
    for secret in secrets:
        value = value.replace(secret, _HIDDEN)
    return _KNOWN.sub(_HIDDEN, value)


def _list_secrets(value: Any) -> Iterator[str]:
    words = (word.partition("=")[::2] for word in sys.argv)
    for name, text in (*os.environ.items(), *words, *_pairs(value)):
        if _NAME.search(name) and len(text) >= _SHORTEST:
            yield text


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    """Yield each key of a JSON value whose value is a text, with that text."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str):
                yield key, item
            yield from _pairs(item)
    elif isinstance(value, list):
        for item in value:
            yield from _pairs(item)
