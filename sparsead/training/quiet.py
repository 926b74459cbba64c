"""Silencing the libraries' own log messages and progress bars."""

from __future__ import annotations

import logging

import datasets
import transformers
from huggingface_hub.utils.tqdm import disable_progress_bars


def quiet_libraries() -> None:
    """Silence the libraries' progress bars, and messages about intended behaviour.

    A command shows its own bar instead: see `sparsead.progress`.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.WARNING)  # rouge_score names its tokenizer
    datasets.disable_progress_bars()
    disable_progress_bars()
