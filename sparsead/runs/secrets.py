"""Secrets: tokens, keys and passwords, which no file that the program writes may contain."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_PASSWORD = re.compile(r"secret|passw|credential", re.IGNORECASE)
_NAME = re.compile(
    rf"{_PASSWORD.pattern}|token(?!i[sz])|(?:api|access|private)[_-]?key", re.IGNORECASE
)
"""Names of environment variables, overrides and options whose values are secret."""
_VARIABLE = re.compile(rf"{_NAME.pattern}|(?:key|pat|auth|authorization)$", re.IGNORECASE)
"""Names of environment variables whose values are secret, such as OPENAI_KEY."""
_SHORTEST = 8
"""Shorter values are numbers and switches, such as `max_new_tokens=60`."""
_SHORTEST_PASSWORD = 4
_KNOWN = re.compile(
    r"\b(?:hf_|sk-|gh[pousr]_|github_pat_|glpat-|xox[a-z.]+-|AKIA|AIza)[A-Za-z0-9_-]{16,}"
    r"|\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"
    r"|(?<=-----BEGIN )[A-Z ]*PRIVATE KEY-----.*?(?=-----END|\Z)"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)|(?<=://)[^/\s:@]{8,}(?=@)",
    re.DOTALL,
)
"""Tokens of well-known services, signed tokens, private keys, and who logs in in a URL."""
_GIVEN = re.compile(
    rf"(?P<name>[\w.-]*(?:{_NAME.pattern}|\bsig)[\w.-]*=)(?P<value>[^\s&;,|'\"]{{8,}})",
    re.IGNORECASE,
)
"""A value behind a name, as in the query of a URL."""
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
    return _KNOWN.sub(_HIDDEN, _GIVEN.sub(rf"\g<name>{_HIDDEN}", value))


def _list_secrets(value: Any) -> Iterator[str]:
    words = (word.partition("=")[::2] for word in sys.argv)
    named = [(name, text) for name, text in os.environ.items() if _VARIABLE.search(name)]
    named += [(name, text) for name, text in (*words, *_pairs(value)) if _NAME.search(name)]
    for name, text in named:
        if len(text) >= (_SHORTEST_PASSWORD if _PASSWORD.search(name) else _SHORTEST):
            yield text


def _pairs(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text in a JSON value with the keys that lead to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _pairs(item, f"{name}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _pairs(item, name)
    elif isinstance(value, str):
        yield name, value
