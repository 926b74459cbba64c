"""What a model's head gives, and whether its weights are pretrained or drawn for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from sparsead.backbones.weight_files import list_weights, read_weights
from sparsead.errors import SourceError

_NEXT_TOKEN = ("ForCausalLM", "LMHeadModel")


def gives_next_token(kind: type[Any]) -> bool:
    """Tell whether a class's head gives, for each token of a text, the logits of the next one.

    Args:
        kind: a class of models, or an auto class such as AutoModelForCausalLM.
    """
    return kind.__name__.endswith(_NEXT_TOKEN)


def list_backbone_modules(model: PreTrainedModel) -> list[nn.Module]:
    """Return the modules that are the bare backbone, without any head.

    It is one module, but for T5's models that answer questions or generate texts, which have the
    backbone's parts as their own.
    """
    if model.base_model is not model:
        return [model.base_model]
    with torch.device("meta"):
        parts = dict(AutoModel.from_config(model.config).named_children())
    return [module for name, module in model.named_children() if name in parts]


def list_backbone_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """Return the parameters of the bare backbone, and of what is inserted into it."""
    return [each for module in list_backbone_modules(model) for each in module.parameters()]


def pretrained_parameters(model: PreTrainedModel) -> set[int]:
    """Return the `id` of each parameter that is the backbone's own.

    The layer that gives the next token was pretrained with the backbone, and therefore belongs to
    it also where it is no copy of the embedding. All other heads are new.
    """
    parameters = list_backbone_parameters(model)
    if (output := model.get_output_embeddings()) is not None:
        parameters += output.parameters()
    return {id(parameter) for parameter in parameters}


def read_without_head(folder: Path, model: PreTrainedModel) -> dict[str, Tensor] | None:
    """Return the weights in a folder without those of a head, in whose place a new one is drawn.

    Such a folder is that of a model which was fine-tuned before. The head of a model that generates
    text is pretrained, and stays.

    Args:
        folder: the backbone's folder.
        model: the model with the new head; only its names are read.

    Returns:
        The weights by name; None where nothing has to be left out.
    """
    if model.get_output_embeddings() is not None:
        return None
    backbone = {id(parameter) for parameter in list_backbone_parameters(model)}
    new = {name for name, each in model.named_parameters() if id(each) not in backbone}
    if not new & list_weights(folder):
        return None
    return {name: tensor for name, tensor in read_weights(folder).items() if name not in new}


def rename_backbone(model: PreTrainedModel) -> dict[str, str] | None:
    r"""Return how the backbone's weights are named in a model that names it in its own way.

    The models of Llama and of its relatives that answer questions call `transformer` what is
    `model` in every folder of weights; without these names transformers would draw new weights.

    Returns:
        A regular expression → what takes its place, for `from_pretrained`; None if the names agree.
    """
    stored, wanted = model.base_model.base_model_prefix, model.base_model_prefix
    return {rf"^{stored}\.": f"{wanted}."} if stored and stored != wanted else None


def check_output(folder: Path, model: PreTrainedModel) -> None:
    """Refuse a decoder without the weights that give the next token: new ones would not train.

    Raises:
        SourceError: they are not the embedding, and the folder does not have them.
    """
    if not gives_next_token(type(model)) or model.config.tie_word_embeddings:
        return
    output = model.get_output_embeddings().weight
    (name,) = [name for name, parameter in model.named_parameters() if parameter is output]
    if name not in list_weights(folder):
        raise SourceError(
            f"{folder}: has no {name}, the weights that give the next token; save the whole model, "
            "such as an AutoModelForCausalLM"
        )
