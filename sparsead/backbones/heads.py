"""What a model's head gives, told by transformers' names of classes."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

_NEXT_TOKEN = ("ForCausalLM", "LMHeadModel")


def gives_next_token(kind: type[Any]) -> bool:
    """Tell whether a class's head gives, for each token of a text, the logits of the next one.

    Args:
        kind: a class of models, or an auto class such as AutoModelForCausalLM.
    """
    return kind.__name__.endswith(_NEXT_TOKEN)


def pretrained_parameters(model: PreTrainedModel) -> set[int]:
    """Return the `id` of each parameter that is the backbone's own.

    The head that gives the next token was pretrained with the backbone, and therefore belongs to it
    also where it is no copy of the embedding. All other heads are new.
    """
    parameters = list(model.base_model.parameters())
    if gives_next_token(type(model)):
        parameters += model.get_output_embeddings().parameters()
    return {id(parameter) for parameter in parameters}
