"""Silencing the libraries' own log messages and progress bars."""

from __future__ import annotations

import logging
import sys

import datasets
import transformers


def quiet_libraries() -> None:
    """Silence progress bars outside a terminal, and messages about intended behaviour."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.WARNING)  # rouge_score names its tokenizer
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
