"""The contract of architectures: what the program has to know about each of them.

An architecture is one file in `backbones/architectures`, which defines `ARCHITECTURE`; the files
need not be listed anywhere. Neither they nor this module import torch, so that reports can read
them.

An entry says what has to be known before torch is imported, so that a run which cannot be assembled
is refused at once. A test compares it with transformers' models.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

_ENTRIES = "sparsead.backbones.architectures"
LINEAR = (
    *("query", "key", "value", "attention_projection"),
    *("ffn_projection", "ffn_input"),
)
"""The kinds of site that are linear layers in most architectures."""


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Names of modules, relative to the bare backbone; `{i}` stands for a layer's number.

    An empty field means that the architecture has no such place.

    Attributes:
        attention_output: the modules whose output is that of the attention sublayer before the
            residual connection adds the sublayer's input (in BART, before dropout).
        ffn_output: the same for the feed-forward sublayer.
        query: the linear projections of queries, those of cross-attention included.
        key: as `query`.
        value: as `query`.
        attention_projection: the last linear layer of the attention sublayer.
        ffn_projection: the last linear layer of the feed-forward sublayer.
        attention: the modules that call the attention function.
        ffn_input: the first linear layer of the feed-forward sublayer; its input is the sublayer's
            input. Of two such layers, whose outputs are multiplied, it is the one before the
            activation; the other is at no site.
        ffn_norm: the LayerNorms after the feed-forward sublayer's residual connection.
        ffn_sum: in pre-LayerNorm architectures, the modules whose output is the sum of the
            feed-forward sublayer's residual connection.
        layer: the whole transformer layers.
        attention_residual: the modules whose inputs are the attention's context and the sublayer's
            input. They allow computing the last layer for each sequence's first token only, so
            they are named only where that is exact: not in a decoder or with relative positions.
        positions: the module whose input is the tokens' `position_ids`. It is named only where the
            model depends on positions through this module alone, so that batches can be packed.
    """

    attention_output: tuple[str, ...] = ()
    ffn_output: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    value: tuple[str, ...] = ()
    attention_projection: tuple[str, ...] = ()
    ffn_projection: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()
    ffn_input: tuple[str, ...] = ()
    ffn_norm: tuple[str, ...] = ()
    layer: tuple[str, ...] = ()
    attention_residual: tuple[str, ...] = ()
    ffn_sum: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SmallTokenizer:
    """The tokenizer of backbones with random weights; no text gives an unknown token.

    Attributes:
        pieces: what a token is: "characters", lower-cased, as in WordPiece without any longer
            pieces, or "bytes", as in byte-level BPE without merges.
        special: role, such as "pad_token" → the special token. Ids are assigned from 0 in this
            order; a token with several roles has one id.
        single: template of one text, `$A` being its tokens; None adds no special tokens.
        pair: template of two texts, `$A` and `$B`; `:1` puts a token into the second segment.
        inputs: names of the model inputs that the tokenizer returns.
    """

    pieces: Literal["characters", "bytes"]
    special: Mapping[str, str]
    single: str | None = None
    pair: str | None = None
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")


@dataclass(frozen=True, kw_only=True)
class AdapterHubNames:
    """Where AdapterHub's package `adapters` keeps an architecture's adapters.

    The first three map a module of ours that has a bottleneck to the package's module that has it;
    `{i}` stands for a layer's number. Several modules of ours may have one name there, because
    dropout, which lies between them, does nothing in evaluation.

    Attributes:
        attention: the end of self-attention.
        cross_attention: the end of cross-attention.
        ffn: the end of the feed-forward sublayer, before or after its residual connection.
        prefixes: attention module → the package's name of its kind of prefix.
        others: methods of the package that compute something else than those of the same name here.
    """

    attention: Mapping[str, str]
    ffn: Mapping[str, str]
    cross_attention: Mapping[str, str] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One of transformers' architectures.

    Attributes:
        model_type: its name in transformers.
        sites: the modules that adapters are attached to.
        tokenizer: the tokenizer of its backbones with random weights.
        causal: whether a token attends to itself and those before it alone, so that the model can
            continue a text.
        absent: for fields that `sites` leaves empty, the reason to give in error messages.
        cross_attention: prefixes of the names of the cross-attention modules.
        positions_behind_padding: whether positions start at the id of the padding token plus 1, as
            in RoBERTa.
        own_attention_dropout: whether the configuration key that begins with "att" sets the
            dropout of the attention weights and of nothing else.
        head_width: configuration key of an attention head's width; if a configuration does not
            have it, the width is hidden_size / num_attention_heads.
        answer_head: name of the linear layer that gives the logits of an answer's start and end.
        task_types: name of a head's module → peft's task type. A name that the heads of several
            tasks share is left out: an exported adapter then has no task type. So is that of
            questions, because peft's wrapper for QUESTION_ANS drops `token_type_ids`.
        named_sites: the kinds of site that reports call by their field in `Sites`, such as
            "ffn_output". For other sites, reports give the name of the module. Changing it renames
            columns in reports of earlier runs.
        adapterhub: names in the package `adapters`; None if that package lacks the architecture.
        linear: the kinds of site whose modules are linear layers, in the order of `Sites`.
        biases: configuration keys, of which one has to be true for layers to have biases; None if
            they always have.
        prefixes: whether its attention goes through transformers' attention interface, by which
            prefixes come in.
        positions_key: configuration key of the number of positions.
        positions: their number in a configuration that does not say it; None if unlimited.
        peft_prefixes: whether peft's prefixes work in a classifier. They take up positions, so the
            embedding of positions has to be a module, the one in `sites.positions`.
    """

    model_type: str
    sites: Sites
    tokenizer: SmallTokenizer
    causal: bool = False
    absent: Mapping[str, str] = field(default_factory=dict)
    cross_attention: tuple[str, ...] = ()
    positions_behind_padding: bool = False
    own_attention_dropout: bool = True
    head_width: str = "head_dim"
    answer_head: str = "qa_outputs"
    task_types: Mapping[str, str] = field(
        default_factory=lambda: {
            "classifier": "SEQ_CLS",
            "classification_head": "SEQ_CLS",
            "score": "SEQ_CLS",
        }
    )
    named_sites: tuple[str, ...] = ("attention_output", "ffn_output", "query", "key", "value")
    adapterhub: AdapterHubNames | None = None
    peft_prefixes: bool = False
    linear: tuple[str, ...] = LINEAR
    biases: tuple[str, ...] | None = None
    prefixes: bool = True
    positions_key: str = "max_position_embeddings"
    positions: int | None = None

    def has(self, module: str) -> bool:
        """Tell whether a module of this name, its model's prefix included, is one of the sites."""
        patterns = [pattern for kind in vars(self.sites).values() for pattern in kind]
        return re.fullmatch(rf"(?:\w+\.)*?(?:{sites_regex(patterns)})", module) is not None

    def site_names(self) -> dict[str, str]:
        """Return the names that reports use, such as "cross_query", by the modules' pattern."""
        return {
            pattern: f"cross_{site}" if pattern.startswith(self.cross_attention) else site
            for site in self.named_sites
            for pattern in getattr(self.sites, site)
        }


def sites_regex(patterns: Iterable[str]) -> str:
    """Return a regular expression for the module names that match `patterns`, a field of Sites."""
    return "|".join(re.escape(each).replace(re.escape("{i}"), r"\d+") for each in patterns)


@cache
def architectures() -> Mapping[str, Architecture]:
    """Return the architectures that have an entry, by their model type."""
    package = importlib.import_module(_ENTRIES)
    modules = [
        importlib.import_module(f"{_ENTRIES}.{found.name}")
        for found in pkgutil.iter_modules(package.__path__)
    ]
    return {module.ARCHITECTURE.model_type: module.ARCHITECTURE for module in modules}
