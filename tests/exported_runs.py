"""Records of runs with random weights, which were never trained, to be exported and imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from composing import compose
from sparsead.adapters.adapted import AdaptedModel
from sparsead.assembly.build import build_adapter, build_task, insert_adapter
from sparsead.backbones.loading import load_backbone
from sparsead.pruning.masks import Masks
from sparsead.pruning.prune import prune
from sparsead.pruning.storage import WEIGHTS_FILE, save_sparse
from sparsead.runs.identity import compute_identity
from sparsead.runs.record import RunRecord, write_result
from sparsead.runs.result import name_of
from synthetic import plain_result

FUSED = "+adapter.fusion.adapters=[{bottleneck:4},{bottleneck:6,activation:gelu}]"
"""The option of adapter=fusion that a resolved run has: the options of two source adapters."""


@dataclass(frozen=True)
class Written:
    """A record, the folder of its backbone, and its model in eval mode."""

    record: RunRecord
    base: Path
    adapted: AdaptedModel
    masks: Masks

    @property
    def model(self) -> PreTrainedModel:
        return self.adapted.model


def write_run(folder: Path, backbone: str, *overrides: str) -> Written:
    """Write the record of a run whose adapter and head were drawn, the adapter then pruned.

    The mask is random, whatever the pruner. In a fusion, half of the sources' weights are zero.

    Args:
        folder: gets `base`, the backbone, and `runs`.
        backbone: a choice with random weights, such as "tiny-bert".
        overrides: such as "adapter=houlsby".
    """
    first = compose(f"backbone={backbone}", *overrides)
    task, base = build_task(first), folder / "base"
    loaded = load_backbone(first.backbone)
    model = loaded.model(task.head, task.head_options, 1)
    model.save_pretrained(base)
    loaded.tokenizer.save_pretrained(base)
    spec = compose(f"backbone={backbone}", f"backbone.path={base}", *overrides)
    adapted = insert_adapter(spec, build_adapter(spec), model)
    _draw(adapted)
    masks = prune(model, tensors=adapted.prunable, sparsity=spec.sparsity, pruner="random")
    result = plain_result(sparsity=spec.sparsity) | {
        "config": spec.to_dict(),
        "identity": compute_identity(spec),
    }
    result["environment"] = {"precision": "fp32"}
    record = folder / "runs" / name_of(result)
    record.mkdir(parents=True)
    write_result(record, result, "")
    save_sparse(
        record / WEIGHTS_FILE,
        {name: tensor.numpy() for name, tensor in adapted.trained_state().items()},
        {name: mask.numpy() for name, mask in masks.items()},
        {"identity": result["identity"], "config": spec.to_dict()},
    )
    model.eval()
    return Written(RunRecord.read(record), base, adapted, masks)


@torch.no_grad()
def _draw(adapted: AdaptedModel) -> None:
    """Draw all stored weights large enough to matter in the output; those of norms around 1."""
    draws = torch.Generator().manual_seed(3)
    for name in adapted.stored:
        parameter = adapted.model.get_parameter(name)
        parameter.normal_(0, 0.3, generator=draws)
        if name.endswith("norm.weight"):
            parameter.add_(1.0)
        if name in adapted.frozen:
            parameter.mul_(torch.rand(parameter.shape, generator=draws) < 0.5)


def batch(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return a padded batch; an encoder-decoder that generates text also gets labels."""
    tokens = torch.tensor([[5, 7, 8, 9, 2], [6, 11, 12, 2, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    inputs = {"input_ids": tokens, "attention_mask": mask}
    if type(model).__name__.endswith("ForConditionalGeneration"):
        inputs["decoder_input_ids"] = torch.tensor([[0, 7, 9], [0, 8, 2]])
    return inputs
