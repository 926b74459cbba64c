"""Checks of a backbone's folder before training: its configuration, its weights, and its outputs.

transformers checks a configuration's values by their types, and draws weights that a file lacks.
Values of the right type that are not valid are refused here, with one line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from sparsead.backbones.contract import architectures
from sparsead.backbones.folders import list_values, translate_read_errors
from sparsead.backbones.heads import pretrained_parameters
from sparsead.errors import SourceError, warn

STANDARD: Mapping[str, Any] = {
    "problem_type": None,
    "return_dict": True,
    "output_hidden_states": False,
    "output_attentions": False,
    "chunk_size_feed_forward": 0,
}
"""The values that this program needs of keys that change only what form a model's output has."""

Wrong = tuple[str, object, str]
"""A key of a configuration, its value, and what it should be."""

_TOKENS = ("bos_token_id", "eos_token_id", "decoder_start_token_id")
_MOST_LAYERS = 1000
"""More layers than any model has; building many more takes hours before the weights are read."""
_TOKEN_KEY = "_token_id"
_WIDEST_RANGE = 10
"""Largest plausible standard deviation of initial weights; models have about 0.02."""
_NOT_DONE = {
    "add_cross_attention": False,
    "pruned_heads": {},
    "position_embedding_type": "absolute",
}
"""The only supported values of keys; transformers ignores others, or they need further inputs."""
_POSITIVE = ("rope_theta", "factor", "local_attention", "sliding_window")
_RELATIVE = {"c2p", "p2c"}
"""The kinds of attention to relative positions of DeBERTa."""
_NUMBER = re.compile(r"\.\d+\.")
"""The number of a layer in the name of a weight."""
_GENERATION = "generation_config.json"
_POOLER = ".pooler."
_PROBE = ["one", "one and another"]


def check_configuration(
    folder: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a configuration with values of the right type that are not valid.

    Args:
        folder: the backbone's folder, for the message.
        config: what its `config.json` says.
        tokenizer: of the same folder.

    Raises:
        SourceError: a number is out of range, a key asks for what transformers does not do, or the
            model does not know the tokenizer's tokens.
    """
    values = config.to_dict()
    wrong = chain(_wrong_numbers(values), _wrong_kinds(config), _wrong_tokens(config))
    for key, value, wanted in wrong:
        raise SourceError(f"{folder}: its config.json has {key}={value}; {wanted}")
    highest = max(_list_tokens(tokenizer), default=0)
    if getattr(config, "vocab_size", highest + 1) <= highest:  # Canine reads characters
        raise SourceError(
            f"{folder}: its config.json has vocab_size={config.vocab_size}, but its tokenizer has "
            f"tokens up to {highest}"
        )
    entry = architectures().get(config.model_type)
    behind_padding = entry is not None and entry.positions_behind_padding
    if behind_padding and config.pad_token_id not in (None, tokenizer.pad_token_id):
        raise SourceError(
            f"{folder}: its config.json has pad_token_id={config.pad_token_id}, but its tokenizer "
            f"has {tokenizer.pad_token_id}; {config.model_type} counts positions from it"
        )
    end = getattr(config, "eos_token_id", None)
    ends = end if isinstance(end, list) else [end]
    if config.is_encoder_decoder and tokenizer.eos_token_id not in ends:
        raise SourceError(
            f"{folder}: its config.json has eos_token_id={end}, but its tokenizer has "
            f"{tokenizer.eos_token_id}"
        )


def check_weights(folder: Path, model: PreTrainedModel, found: Mapping[str, Any]) -> None:
    """Refuse weights that are not those of the configuration; transformers would draw new ones.

    A pooler may be missing: models that were pretrained without it have none.

    Args:
        folder: the backbone's folder, for the message.
        model: the loaded model.
        found: what `from_pretrained` returns with `output_loading_info`.

    Raises:
        SourceError: weights of the backbone are missing, or have another shape.
    """
    left_out = _list_left_out(model, found["unexpected_keys"])
    if left_out:
        warn(f"{folder}: its config.json leaves out layers of its weights, such as {left_out[0]}")
    for name, stored, wanted in sorted(found["mismatched_keys"]):
        raise SourceError(
            f"{folder}: its weights do not fit its config.json: {name} has the shape "
            f"{_shape(stored)}, but should have {_shape(wanted)}"
        )
    pretrained = pretrained_parameters(model)
    parameters = dict(model.named_parameters())
    missing = [
        name
        for name in sorted(found["missing_keys"])
        if name in parameters and id(parameters[name]) in pretrained and _POOLER not in f".{name}"
    ]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise SourceError(
            f"{folder}: its weights do not fit its config.json: they lack {missing[0]}{more}"
        )


def check_outputs(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a model that cannot compute with two short texts, or gives no numbers.

    Nothing is drawn at random, and the model stays as it is.

    Args:
        folder: the backbone's folder, for the message.
        model: the loaded model, in eval mode.
        tokenizer: of the same folder.

    Raises:
        SourceError: it raises an error, or an output is not finite.
    """
    with translate_read_errors(folder, "cannot be used; check its config.json"), torch.no_grad():
        batch = dict(tokenizer(_PROBE, padding=True, return_tensors="pt"))
        if model.config.is_encoder_decoder and model.get_output_embeddings() is not None:
            batch["labels"] = batch["input_ids"]
        outputs = [value for value in model(**batch).values() if isinstance(value, Tensor)]
    if not all(output.isfinite().all() for output in outputs):
        raise SourceError(f"{folder}: its model gives outputs that are not finite")


def check_generation(folder: Path, model: PreTrainedModel) -> None:
    """Refuse settings of the generation with token numbers that the model does not have.

    They are used only after training, when texts are generated. The other settings of a folder's
    `generation_config.json` are not used at all.

    Raises:
        SourceError: a token's number is not one of the model's.
    """
    own = getattr(model, "generation_config", None)  # a classifier has none
    file = _GENERATION if (folder / _GENERATION).exists() else "config.json"
    size = getattr(model.config, "vocab_size", math.inf)  # some have two, one for each language
    for key, given in (own.to_dict() if own else {}).items():
        if key.endswith(_TOKEN_KEY) and not _are_tokens(given, size):
            raise SourceError(
                f"{folder}: its {file} has {key}={given}; it must be the number of a token, less "
                f"than {size}"
            )


def _are_tokens(given: object, size: float) -> bool:
    """Tell whether a value is a token's number, several of them, or none."""
    ids = given if isinstance(given, list) else [given]
    return all(each is None or (type(each) is int and 0 <= each < size) for each in ids)


def _list_left_out(model: PreTrainedModel, unexpected: Iterable[str]) -> list[str]:
    """Return the unexpected weights that belong to further layers of the model, not to a head.

    A folder may name the backbone's weights with or without the backbone's own prefix.
    """
    own = {_NUMBER.sub(".N.", f".{name}") for name, _ in model.named_parameters()}
    layers = [name for name in own if ".N." in name]
    stored = {name: _NUMBER.sub(".N.", f".{name}") for name in sorted(unexpected)}
    return [
        name
        for name, kind in stored.items()
        if any(kind.endswith(layer) or layer.endswith(kind) for layer in layers)
    ]


def _list_tokens(tokenizer: PreTrainedTokenizerBase) -> Iterator[int]:
    """Yield the numbers of the tokens that a text can become, or that the tokenizer adds to it.

    Other control tokens, such as Gemma's for the place of an image, have no embedding in a model
    that reads text alone; written in a text, they are tokenised as text.
    """
    added = {number for number, each in tokenizer.added_tokens_decoder.items() if each.special}
    others = added - {*tokenizer.all_special_ids}
    yield from (number for number in tokenizer.get_vocab().values() if number not in others)


def _wrong_numbers(values: Mapping[str, Any]) -> Iterator[Wrong]:
    for key, value in list_values(values):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if isinstance(value, float) and not math.isfinite(value):
            yield key, value, "it must be finite"
        elif ("drop" in key or key.endswith(("_eps", "_epsilon"))) and not 0 <= value < 1:
            yield key, value, "it must be at least 0 and less than 1"
        elif key in ("initializer_range", "init_std") and not 0 <= value <= _WIDEST_RANGE:
            yield key, value, f"it must be between 0 and {_WIDEST_RANGE}"
        elif key.endswith(("layers", "n_layer")) and value > _MOST_LAYERS:
            yield key, value, f"it must be at most {_MOST_LAYERS}"
        elif key.endswith(("_heads", "_layers", "_size")) and value < 0:
            yield key, value, "it must not be negative"
        elif key in _POSITIVE and value <= 0:
            yield key, value, "it must be more than 0"


def _wrong_kinds(config: PretrainedConfig) -> Iterator[Wrong]:
    entry = architectures().get(config.model_type)
    if entry is None:  # an architecture whose keys are not known here
        return
    for key, only in _NOT_DONE.items():
        value = getattr(config, key, None)
        if value and value != only:
            yield key, value, f"only {only} can be used"
    positions = set(getattr(config, "pos_att_type", None) or ())
    if not positions <= _RELATIVE:
        yield (
            "pos_att_type",
            config.pos_att_type,
            f"only {' and '.join(sorted(_RELATIVE))} are known",
        )
    if not entry.causal and getattr(config, "is_decoder", False):
        yield "is_decoder", True, f"only a {config.model_type} that reads both ways can be used"
    usual = type(config)().is_encoder_decoder
    if config.is_encoder_decoder != usual:
        yield "is_encoder_decoder", not usual, f"a {config.model_type} has {usual}"


def _wrong_tokens(config: PretrainedConfig) -> Iterator[Wrong]:
    """Yield numbers of tokens that the model does not have, where it reads them from `config.json`.

    Only a model with encoder and decoder reads them there. Others may have a smaller vocabulary and
    still the default numbers of their architecture, such as GPT-2's 50256.
    """
    size = getattr(config, "vocab_size", math.inf) if config.is_encoder_decoder else math.inf
    for key in _TOKENS:
        given = getattr(config, key, None)
        if not _are_tokens(given, size):
            below = "" if size == math.inf else f", less than {size}"
            yield key, given, f"it must be the number of a token{below}"
    starts = [getattr(config, key, None) for key in ("decoder_start_token_id", "bos_token_id")]
    if config.is_encoder_decoder and starts == [None, None]:
        yield "decoder_start_token_id", None, "a model that writes texts needs one"


def _shape(shape: object) -> str:
    return " × ".join(map(str, shape)) if isinstance(shape, tuple | list) else str(shape)
