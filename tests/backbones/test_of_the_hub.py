"""Every backbone of conf/ whose weights are on the hub, in the layout of its repository there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from composing import compose
from exhaustive import choose
from hub_files import bart_files, deberta_files, saved_files
from sparsead.backbones.loading import load_backbone
from sparsead.hub.commits import forget_commits
from stand_in_hub import Failure, StandInHub


class Layout(NamedTuple):
    """What a repository holds: a small model of which class, and whether it is pickled."""

    tiny: str
    kind: type[Any]
    pickled: bool = False
    overrides: tuple[str, ...] = ()


TIED = ("+backbone.architecture.tie_word_embeddings=true",)
LAYOUTS: Mapping[str, Layout | None] = {
    "all-mpnet-base-v2": Layout("tiny-mpnet", AutoModel),
    "bart-large": None,  # see OWN
    "bert-base": Layout("tiny-bert", AutoModelForPreTraining),
    "bert-base-cased": Layout("tiny-bert", AutoModelForPreTraining),
    "deberta-v3-base": None,
    "distilbert-base": Layout("tiny-distilbert", AutoModelForMaskedLM),
    "electra-base": Layout("tiny-electra", AutoModelForPreTraining, pickled=True),
    "gpt2": Layout("tiny-gpt2", AutoModel),
    "llama": Layout("tiny-llama", AutoModelForCausalLM, overrides=TIED),
    "modernbert-base": Layout("tiny-modernbert", AutoModelForMaskedLM),
    "mpnet-base": Layout("tiny-mpnet", AutoModelForMaskedLM, pickled=True),
    "qwen": Layout("tiny-qwen", AutoModelForCausalLM),
    "qwen2": Layout("tiny-qwen2", AutoModelForCausalLM),
    "roberta-base": Layout("tiny-roberta", AutoModelForMaskedLM),
    "smollm2": Layout("tiny-llama", AutoModelForCausalLM, overrides=TIED),
    "t5-base": Layout("tiny-t5", AutoModelForSeq2SeqLM),
}
OWN = {"bart-large": bart_files, "deberta-v3-base": deberta_files}


def repository(choice: str) -> Mapping[str, bytes]:
    layout = LAYOUTS[choice]
    if layout is None:
        return OWN[choice]()
    tiny, kind, pickled, overrides = layout
    return saved_files(tiny, kind, overrides, pickled=pickled)


def test_every_backbone_of_the_hub_has_a_layout() -> None:
    files = (Path(__file__).parents[2] / "conf" / "backbone").glob("*.yaml")
    assert {f.stem for f in files if "\nhub: " in f.read_text("utf-8")} == {*LAYOUTS}


@pytest.mark.slow
@pytest.mark.parametrize("choice", choose(LAYOUTS, ["electra-base"]))
def test_a_backbone_comes_from_the_hub_and_then_from_its_cache(
    choice: str, hub: StandInHub
) -> None:
    spec = compose(f"backbone={choice}").backbone
    assert spec.hub is not None
    hub.commit("models", spec.hub, repository(choice))
    first = load_backbone(spec)
    ids = first.tokenizer(["a b", "b a"], return_tensors="pt", padding=True)["input_ids"]
    kind = AutoModelForSequenceClassification
    outputs = []
    for failure in (None, Failure(500)):
        forget_commits()
        hub.failures[:] = [failure] if failure else []
        backbone = load_backbone(spec)
        assert backbone.fingerprint() == first.fingerprint() != {}
        model = backbone.model(kind, {"num_labels": 3}, seed=1).eval()
        with torch.no_grad():
            outputs.append(model(input_ids=ids).logits)
    assert outputs[0].shape == (2, 3)
    assert torch.equal(*outputs)
