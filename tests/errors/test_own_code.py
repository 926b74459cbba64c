"""Errors of code that the user has chosen, such as a pruner."""

from __future__ import annotations

import os

import pytest

from sparsead.errors import ConfigError
from sparsead.errors.own_code import named_as_own


def test_a_function_in_which_no_file_of_the_users_own_fails_is_named() -> None:
    said = r"^pruner: posix\.system fails: TypeError: .*HYDRA_FULL_ERROR=1"
    with pytest.raises(ConfigError, match=said):
        call_foreign()


def call_foreign() -> None:
    """Run the call as if this file were a library's, whose frames say nothing to the user."""
    source = "with named_as_own('pruner: posix.system'):\n    os.system(1.5)\n"
    exec(compile(source, "<library>", "exec"), {"named_as_own": named_as_own, "os": os})


def test_an_error_in_a_file_of_the_users_own_is_left_to_name_that_file() -> None:
    with pytest.raises(TypeError), named_as_own("pruner: mine.own"):
        os.system(1.5)  # type: ignore[arg-type]
