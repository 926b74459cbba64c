"""docs/runs.md: the example of `sparsead.prune` for peft, run as printed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from pruning_cases import copy_parameters, parameter_names, transformers_loss
from sparsead.errors import PruningError
from sparsead.seeding import make_generator
from tiny_models import tiny_classifier

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "runs.md"


def example() -> str:
    blocks: list[str] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    block = next(block for block in blocks if "lora_" in block)
    return "import sparsead\n" + block[block.index("masks = ") :]  # of the test's own model


def wrapped() -> peft.PeftModel:
    model = tiny_classifier().train()
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"])
    torch.manual_seed(1)
    return peft.get_peft_model(model, config)


def scoring_set() -> list[dict[str, Tensor]]:
    draws = torch.Generator().manual_seed(2)
    tokens = torch.randint(5, 60, (12, 6), generator=draws)
    labels = torch.randint(0, 2, (12,), generator=draws)
    return [
        {"input_ids": part, "labels": classes}
        for part, classes in zip(tokens.split(5), labels.split(5), strict=True)
    ]


def follow(source: str, model: peft.PeftModel) -> dict[str, Tensor]:
    names: dict[str, Any] = {"model": model, "batches": scoring_set()}
    exec(source, names)
    masks: dict[str, Tensor] = names["masks"]
    return masks


def lora_names(model: peft.PeftModel) -> list[str]:
    return [name for name in parameter_names(model) if "lora_" in name]


def test_the_example_removes_exactly_the_budget_of_peft_s_matrices() -> None:
    model = wrapped()
    before = copy_parameters(model)
    masks = follow(example(), model)
    assert list(masks) == lora_names(model)
    total = sum(mask.numel() for mask in masks.values())
    removed = sum(int((~mask).sum()) for mask in masks.values())
    assert total == 2 * 2 * (4 * 32 + 32 * 4)
    assert removed == round(0.4 * total)
    for side in ("lora_A", "lora_B"):
        assert any((~mask).any() for name, mask in masks.items() if side in name)
    for name, mask in masks.items():
        assert torch.equal(model.get_parameter(name).detach(), before[name] * mask)


def test_removed_weights_of_both_matrices_stay_zero_and_the_others_train() -> None:
    model = wrapped()
    masks = follow(example(), model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1)
    for batch in scoring_set():
        optimizer.zero_grad()
        transformers_loss(model, batch).backward()
        optimizer.step()
    for name, mask in masks.items():
        weight = model.get_parameter(name).detach()
        assert (weight[~mask] == 0).all()
        assert (weight[mask] != 0).all()


def test_without_the_probe_zero_b_is_refused_and_the_way_out_named() -> None:
    model = wrapped()
    before = copy_parameters(model)
    source = example().replace("probe=True", "probe=False")
    assert source != example()
    with pytest.raises(PruningError, match=r"lora_B.*probe=true") as refusal:
        follow(source, model)
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(p.detach(), before[name]) for name, p in model.named_parameters())


def test_the_scores_are_those_of_snip_where_b_is_drawn() -> None:
    masks, model = follow(example(), wrapped()), wrapped().eval()
    weights = {name: model.get_parameter(name) for name in lora_names(model)}
    for name, weight in weights.items():
        if "lora_B" in name:
            draw = torch.randn(weight.shape, generator=make_generator(0, "probe", name))
            weight.data = 0.02 * draw
    losses = [
        transformers_loss(model, batch) * len(batch["labels"]) / 12 for batch in scoring_set()
    ]
    gradients = torch.autograd.grad(torch.stack(losses).sum(), list(weights.values()))
    scores = torch.cat(
        [(w * g).abs().flatten() for w, g in zip(weights.values(), gradients, strict=True)]
    )
    kept = torch.cat([masks[name].flatten() for name in weights])
    assert scores[~kept].max() < scores[kept].min()
