"""Keeping the libraries' own chatter away from a run's few lines."""

from __future__ import annotations

import sys

import datasets
import transformers


def quiet_libraries() -> None:
    """Silence progress bars that nobody watches, and reports of what is meant to be so."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
