"""A check, on two short sequences, that a packed batch gives what the padded one gives.

Packing relies on names of transformers and torch that are private or may change their meaning: the
attention interface, arguments that reach it through all layers, and the variable-length kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor
from transformers import BatchEncoding, PreTrainedModel

from sparsead.pruning.scoring import undisturbed

_LENGTHS = (2, 3)
_TOLERANCE = 1e-2
"""Greatest difference, as a share of the largest logit; rounding in fp32 gives 1e-6.

Attention that does not see where a sequence ends gives 0.4 in MiniLM."""


def short_batch(model: PreTrainedModel) -> BatchEncoding:
    """Return a padded batch of two short sequences, on the CPU, as a task's collator does."""
    padding = model.config.pad_token_id or 0
    tokens = [token for token in range(max(_LENGTHS) + 1) if token != padding]
    ids = torch.full((len(_LENGTHS), max(_LENGTHS)), padding)
    for row, length in enumerate(_LENGTHS):
        ids[row, :length] = torch.tensor(tokens[:length])
    true = torch.arange(max(_LENGTHS)) < torch.tensor(_LENGTHS)[:, None]
    return BatchEncoding({"input_ids": ids, "attention_mask": true.long()})


def compute_logits(model: PreTrainedModel, batch: BatchEncoding) -> Tensor:
    """Return the logits of a batch from `short_batch`, those of padding left out.

    Computed in evaluation mode and without autocast; the model and the random states are left as
    they were.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with undisturbed(model, trained), torch.no_grad():
        output: Any = model(**send_to_device(dict(batch), model.device))
    true = batch["attention_mask"].bool().to(model.device)
    if "logits" in output:
        logits = torch.as_tensor(output.logits).float()
        return logits[true] if logits.ndim > 2 else logits  # of each token, or of each sequence
    return torch.stack([output.start_logits[true], output.end_logits[true]]).float()


def check_equal(padded: Tensor, packed: Tensor) -> None:
    """Refuse logits of the packed batch that are not those of the padded one.

    Raises:
        ValueError: they differ by more than rounding does.
    """
    tolerance = _TOLERANCE * float(padded.abs().max())
    if not torch.allclose(packed, padded, rtol=0, atol=tolerance, equal_nan=True):
        difference = float((packed - padded).abs().max())
        raise ValueError(f"logits differ by {difference:.2g} from those of a padded batch")
