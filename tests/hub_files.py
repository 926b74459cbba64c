"""The files of small repositories on the hub: models with random weights, and data sets."""

from __future__ import annotations

import io
import json
import string
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import sentencepiece
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


def saved_files(
    name: str, kind: type[Any], overrides: Sequence[str] = (), *, pickled: bool = False
) -> dict[str, bytes]:
    """Return the files of a backbone with random weights, as a model of a class saves them.

    Args:
        name: one of the project's backbones with random weights.
        kind: a transformers auto class, such as that of the backbone's pretraining.
        overrides: of its configuration.
        pickled: whether the weights are in `pytorch_model.bin`.
    """
    backbone = load_backbone(compose(f"backbone={name}", *overrides).backbone)
    bare = backbone.model(AutoModel, {}, 1)
    whole = kind.from_config(bare.config)
    whole.base_model.load_state_dict(bare.state_dict(), strict=False)
    with TemporaryDirectory() as folder:
        whole.save_pretrained(folder)
        backbone.tokenizer.save_pretrained(folder)
        files = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
    if not pickled:
        return files
    stream = io.BytesIO()
    torch.save(whole.state_dict(), stream)
    del files["model.safetensors"]
    return files | {"pytorch_model.bin": stream.getvalue()}


@cache
def bart_files() -> Mapping[str, bytes]:
    """Return the files of a small BART in the layout of its repository, with pickled weights."""
    files = pickled_files("tiny-bart")
    pieces = json.loads(files["tokenizer.json"])["model"]
    merges = "".join(f"{' '.join(pair)}\n" for pair in pieces["merges"])
    written = {"vocab.json": json.dumps(pieces["vocab"]), "merges.txt": f"#version: 0.2\n{merges}"}
    return {**files, **{name: text.encode() for name, text in written.items()}}


@cache
def deberta_files() -> Mapping[str, bytes]:
    """Return the files of a small DeBERTa-v3 in the layout of its repository.

    It has a sentencepiece vocabulary and no tokenizer.json, and pickled weights with heads of its
    pretraining, beside those of another model, which are not wanted.
    """
    model_stream, weights = io.BytesIO(), io.BytesIO()
    special: dict[str, Any] = {
        **{"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3},
        **{"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"},
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(string.ascii_lowercase * 2 for _ in range(9)),
        model_writer=model_stream,
        vocab_size=5 + len(string.ascii_lowercase),  # with the four above and the space
        model_type="char",
        **special,
    )
    config = json.loads(model_files("tiny-deberta")["config.json"])
    backbone = load_backbone(compose("backbone=tiny-deberta").backbone)
    state = backbone.model(AutoModel, {}, 1).state_dict()
    heads = {"lm_predictions.lm_head.bias": torch.zeros(config["vocab_size"])}
    torch.save({f"deberta.{name}": tensor for name, tensor in state.items()} | heads, weights)
    return {
        "config.json": json.dumps(config).encode(),
        "tokenizer_config.json": b'{"do_lower_case": false, "vocab_type": "spm"}',
        "spm.model": model_stream.getvalue(),
        "pytorch_model.bin": weights.getvalue(),
        "pytorch_model.generator.bin": b"the generator of its pretraining",
    }


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
