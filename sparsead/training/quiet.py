"""Keeping the libraries' own chatter away from a run's few lines."""

from __future__ import annotations

import logging
import sys

import datasets
import transformers


def quiet_libraries() -> None:
    """Silence progress bars that nobody watches, and reports of what is meant to be so."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.WARNING)  # rouge_score names its tokenizer
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
