"""Small tokenizers for backbones with random weights; no text gives an unknown token."""

from __future__ import annotations

import string

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sparsead.backbones.contract import SmallTokenizer, architectures
from sparsead.errors import ConfigError, unknown


def build_tokenizer(architecture: str, max_length: int) -> PreTrainedTokenizerFast:
    """Return the tokenizer of `architecture` over single characters or bytes.

    As in `load_backbone`, it reads a control token in a text as text.

    Args:
        architecture: transformers' model type.
        max_length: number of tokens, special ones included, that the model takes.

    Raises:
        ConfigError: the architecture has no entry that describes a tokenizer.
    """
    known = architectures()
    if architecture not in known:
        raise ConfigError(unknown("backbone.architecture.model_type", architecture, known))
    described = known[architecture].tokenizer
    special = list(dict.fromkeys(described.special.values()))
    build = _characters if described.pieces == "characters" else _bytes
    tokenizer = build(special)
    if described.single is not None:
        tokenizer.post_processor = _template(described, {t: i for i, t in enumerate(special)})
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=list(described.inputs),
        split_special_tokens=True,
        **described.special,
    )


def _characters(special: list[str]) -> Tokenizer:
    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*special, *characters, *(f"##{character}" for character in characters)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _bytes(special: list[str]) -> Tokenizer:
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _template(described: SmallTokenizer, ids: dict[str, int]) -> processors.TemplateProcessing:
    """Return the post-processor that adds the special tokens to a text or a pair of texts."""
    templates = f"{described.single} {described.pair}"
    added = dict.fromkeys(piece.partition(":")[0] for piece in templates.split())
    return processors.TemplateProcessing(
        single=described.single,
        pair=described.pair,
        special_tokens=[(token, ids[token]) for token in added if token in ids],
    )
