"""Small tokenizers for the backbones of random weights: every text becomes known tokens."""

from __future__ import annotations

import string
from collections.abc import Callable
from functools import partial

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sparsead.errors import ConfigError, unknown


def build_tokenizer(architecture: str, max_length: int) -> PreTrainedTokenizerFast:
    """Return the tokenizer of `architecture` over single characters or bytes.

    Args:
        architecture: transformers' model type.
        max_length: number of tokens, special ones included, that the model takes.

    Raises:
        ConfigError: no tokenizer of that kind is built here.
    """
    if architecture not in _BUILDERS:
        raise ConfigError(unknown("backbone.architecture.model_type", architecture, _BUILDERS))
    return _BUILDERS[architecture](max_length)


def _character_wordpiece(
    max_length: int, inputs: tuple[str, ...] = ("input_ids", "token_type_ids", "attention_mask")
) -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*special, *characters, *(f"##{character}" for character in characters)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=list(inputs),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _byte_level(max_length: int) -> PreTrainedTokenizerFast:
    tokenizer, vocabulary = _bytes_of(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
    )


def _sentence_end(max_length: int) -> PreTrainedTokenizerFast:
    """As T5's: every sentence ends in </s>, and padding starts the decoder."""
    tokenizer, vocabulary = _bytes_of(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>",
        pair="$A </s> $B </s>",
        special_tokens=[("</s>", vocabulary["</s>"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def _text_end(max_length: int) -> PreTrainedTokenizerFast:
    """As GPT-2's and Llama's: nothing is added to a text, and nothing is there to pad with."""
    tokenizer, _ = _bytes_of(["<|endoftext|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )


def _bytes_of(special: list[str]) -> tuple[Tokenizer, dict[str, int]]:
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, vocabulary


_BUILDERS: dict[str, Callable[[int], PreTrainedTokenizerFast]] = {
    "bert": _character_wordpiece,
    "electra": _character_wordpiece,
    "deberta-v2": _character_wordpiece,
    "distilbert": partial(_character_wordpiece, inputs=("input_ids", "attention_mask")),
    "roberta": _byte_level,
    "bart": _byte_level,
    "t5": _sentence_end,
    "gpt2": _text_end,
    "llama": _text_end,
}
