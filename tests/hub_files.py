"""The files of small repositories on the hub: models with random weights, and data sets."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from transformers import AutoModel

from composing import compose
from sparsead.backbones.loading import load_backbone

RTE = "nyu-mll/glue"
BERT = "google-bert/bert-base-uncased"


@cache
def model_files(name: str = "tiny-bert") -> Mapping[str, bytes]:
    """Return the files of one of the project's backbones with random weights."""
    backbone = load_backbone(compose(f"backbone={name}").backbone)
    model = backbone.model(AutoModel, {}, 1)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        backbone.tokenizer.save_pretrained(folder)
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


@cache
def pickled_files(name: str = "tiny-bert") -> Mapping[str, bytes]:
    """Return the same files with the weights in `pytorch_model.bin`."""
    backbone = load_backbone(compose(f"backbone={name}").backbone)
    stream = io.BytesIO()
    torch.save(backbone.model(AutoModel, {}, 1).state_dict(), stream)
    others = {n: data for n, data in model_files(name).items() if n != "model.safetensors"}
    return others | {"pytorch_model.bin": stream.getvalue()}


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as the content of a Parquet file."""
    stream = io.BytesIO()
    pd.DataFrame(rows).to_parquet(stream, index=False)
    return stream.getvalue()


def rte_rows(count: int = 8, word: str = "cat") -> list[dict[str, Any]]:
    """Return rows in the columns of RTE."""
    return [
        {"sentence1": f"{n} {word}s.", "sentence2": f"A {word}.", "label": n % 2, "idx": n}
        for n in range(count)
    ]


def data_files(
    configs: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
) -> dict[str, bytes]:
    """Return the files of a data set: for each configuration and split a Parquet file.

    Args:
        configs: configuration → split → rows.
    """
    card = ["---", "configs:"]
    files = {}
    for config, splits in configs.items():
        card += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            card += [f"  - split: {split}", f"    path: {config}/{split}-*"]
            files[f"{config}/{split}-00000-of-00001.parquet"] = parquet(rows)
    return {"README.md": "\n".join([*card, "---", ""]).encode(), **files}


def glue_files(word: str = "cat") -> dict[str, bytes]:
    """Return the files of a small GLUE with RTE alone."""
    splits = {split: rte_rows(word=word) for split in ("train", "validation", "test")}
    return data_files({"rte": splits})
