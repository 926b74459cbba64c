"""Loading a pretrained model and its tokenizer: from a folder, a package, the hub, or random."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sparsead.backbones.checks import (
    check_configuration,
    check_generation,
    check_outputs,
    check_weights,
)
from sparsead.backbones.configs import (
    NO_CODE,
    architecture_config,
    explain_architecture,
    folder_config,
)
from sparsead.backbones.contract import architectures
from sparsead.backbones.dropout import draw_by_the_byte
from sparsead.backbones.folders import find_folder, translate_read_errors
from sparsead.backbones.heads import (
    check_output,
    gives_next_token,
    read_without_head,
    rename_backbone,
)
from sparsead.backbones.lengths import check_tokens, count_positions
from sparsead.backbones.places import build_head_error
from sparsead.backbones.tokenizers import build_tokenizer
from sparsead.backbones.weight_files import check_not_quantised
from sparsead.config.groups import BackboneSpec
from sparsead.errors import ConfigError, SourceError
from sparsead.runs.files import file_digest
from sparsead.seeding import derive_seed

_TOKENIZING: dict[str, Any] = {"split_special_tokens": True, "padding_side": "right"}
"""Without `padding_side`, some decoders' tokenizers pad on the left, which shifts positions."""
_RANDOM_WEIGHTS_SEED = 0
_OUTPUT_RANGE = 0.02
"""Standard deviation of a random output layer whose configuration has none for its weights."""
_RELATIVE_POSITIONS = 512
"""Longest input of a model with relative positions: the length that T5 was pretrained with."""


@dataclass(frozen=True)
class Backbone:
    """A pretrained model without adapter and head; if `folder` is None, its weights are random."""

    spec: BackboneSpec
    folder: Path | None
    tokenizer: PreTrainedTokenizerBase

    def model(self, head: type[Any], head_options: Mapping[str, Any], seed: int) -> PreTrainedModel:
        """Return the model in fp32 on the CPU, with a new head that depends on `seed` alone.

        Args:
            head: a transformers auto class, such as AutoModelForSequenceClassification.
            head_options: options of the model's configuration that the head needs, such as
                num_labels.
            seed: the seed of the initial weights; a random backbone does not depend on it.

        Raises:
            SourceError: the weights cannot be read, or are not those of the configuration.
        """
        torch.manual_seed(derive_seed(seed, "head"))
        if self.folder is None:
            model = self._random_model(head, head_options)
        else:
            model = self._pretrained_model(self.folder, head, head_options)
        draw_by_the_byte(model)
        return model

    def _pretrained_model(
        self, folder: Path, head: type[Any], head_options: Mapping[str, Any]
    ) -> PreTrainedModel:
        config = folder_config(folder, head_options)
        # A decoder's head finds a text's last token by it, so it must be that of the tokenizer.
        config.pad_token_id = self.tokenizer.pad_token_id
        config = self._with_dropout(config)
        with translate_read_errors(folder, "cannot be loaded"):
            with torch.device("meta"):
                empty = head.from_config(config)
            check_not_quantised(folder)
            check_output(folder, empty)
            stored = read_without_head(folder, empty)
            model, found = type(empty).from_pretrained(
                folder if stored is None else None,
                config=config,
                state_dict=stored,
                dtype=torch.float32,
                use_safetensors=True,
                key_mapping=rename_backbone(empty),
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
                **NO_CODE,
            )
        check_weights(folder, model, found)
        check_generation(folder, model)
        check_outputs(folder, model, self.tokenizer)
        return model  # type: ignore[no-any-return]

    def check_head(self, head: type[Any]) -> None:
        """Refuse a head that the architecture cannot have.

        Args:
            head: a transformers auto class.

        Raises:
            ConfigError: transformers has no such head for it.
        """
        if self.folder is None:
            _check_head(self.spec, architecture_config(self.spec, {}), head)
        else:
            _check_head(self.spec, folder_config(self.folder, {}), head)

    def check_length(self, key: str, tokens: int, after: int = 0) -> None:
        """Refuse texts of more tokens than the backbone has positions for.

        Args:
            key: configuration key of the length, for the message.
            tokens: number of tokens of the longest text.
            after: greatest number of tokens that follow it in the same sequence.

        Raises:
            ConfigError: the backbone has fewer positions.
        """
        if self.folder is None:
            config = architecture_config(self.spec, {})
        else:
            config = folder_config(self.folder, {})
        check_tokens(key, tokens, self.spec.name, _positions(config), after)

    def _with_dropout(self, config: PretrainedConfig) -> PretrainedConfig:
        """Set the dropout probabilities that the user gave.

        Raises:
            ConfigError: the architecture has no separate dropout for the attention weights.
        """
        values = config.to_dict().items()
        numbers = (int, float)  # some configurations write 0 for 0.0
        names = {n: v for n, v in values if _is_dropout(n) and type(v) in numbers}
        attention = self.spec.attention_dropout
        if attention is not None and not _has_attention_dropout(config, names):
            raise ConfigError(
                f"backbone.attention_dropout={attention:g}: {config.model_type} has one dropout "
                "for all of an attention sublayer; set backbone.dropout"
            )
        for name, value in names.items():
            setattr(config, name, self._dropout(name, value))
        return config

    def _dropout(self, name: str, pretrained: float) -> float:
        if name.startswith("att") and self.spec.attention_dropout is not None:
            return self.spec.attention_dropout
        return pretrained if self.spec.dropout is None else self.spec.dropout

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of each weights file; no entry for random weights."""
        files = sorted(self.folder.glob("*.safetensors")) if self.folder else []
        return {file.name: file_digest(file) for file in files}

    def _random_model(self, head: type[Any], head_options: Mapping[str, Any]) -> PreTrainedModel:
        config = _random_config(self.spec, self.tokenizer, head_options)
        config = self._with_dropout(config)
        with explain_architecture(self.spec):
            model: PreTrainedModel = head.from_config(config, dtype=torch.float32)
            torch.manual_seed(_RANDOM_WEIGHTS_SEED)
            pretrained = AutoModel.from_config(config, dtype=torch.float32)
        model.base_model.load_state_dict(pretrained.state_dict(), strict=False)
        output = model.get_output_embeddings()
        if output is not None and output.weight is not model.get_input_embeddings().weight:
            output.weight.data.normal_(0, getattr(config, "initializer_range", _OUTPUT_RANGE))
        return model


def load_backbone(spec: BackboneSpec) -> Backbone:
    """Find the backbone's files and load its tokenizer, which reads control tokens as text.

    What looks like a control token in a text, such as `</s>`, is then tokenised as any other text;
    the tokens that the tokenizer itself adds to a text are not affected.

    Raises:
        SourceError: the files cannot be obtained, the weights have another checksum, or the
            configuration is not valid.
    """
    folder = find_folder(spec)
    if folder is None:
        return Backbone(spec, None, _random_tokenizer(spec))
    config = folder_config(folder, {})
    with translate_read_errors(folder, "has no usable tokenizer"):
        read = AutoTokenizer.from_pretrained(folder, **_TOKENIZING, **NO_CODE)
    tokenizer = _padding(read, spec)
    check_configuration(folder, config, tokenizer)
    return Backbone(spec, folder, tokenizer)


def build_skeleton(
    spec: BackboneSpec, head: type[Any], head_options: Mapping[str, Any], device: str = "meta"
) -> PreTrainedModel:
    """Return a model with the right names and shapes, without pretrained weights or network.

    The shapes come from the folder's configuration, or without a folder from the architecture in
    conf/.
    """
    config = _shapes_config(spec, head_options)
    _check_head(spec, config, head)
    if spec.path is None:
        explained = explain_architecture(spec)
    else:
        explained = translate_read_errors(Path(spec.path), "cannot be built")
    with explained, torch.device(device):
        model: PreTrainedModel = head.from_config(config, dtype=torch.float32)
    return model


def _check_head(spec: BackboneSpec, config: PretrainedConfig, head: type[Any]) -> None:
    continues = gives_next_token(head)
    if type(config) in head._model_mapping and (not continues or _is_causal(config.model_type)):
        return
    raise build_head_error(spec.name, config.model_type, head.__name__)


def _is_causal(model_type: str) -> bool:
    """Tell whether the architecture reads a text from left to right alone.

    transformers also has classes that continue texts for encoders such as BERT. Trained as they
    are, these would see the tokens that they are to predict.
    """
    entry = architectures().get(model_type)
    return entry is not None and entry.causal


def _shapes_config(spec: BackboneSpec, head_options: Mapping[str, Any]) -> PretrainedConfig:
    if spec.path is not None:
        return folder_config(Path(spec.path), head_options)
    if spec.hub is None and spec.package is None:
        return _random_config(spec, _random_tokenizer(spec), head_options)
    return architecture_config(spec, head_options)


def count_parameters(config: PretrainedConfig) -> int:
    """Return the number of parameters of the bare backbone, with its pooler and without a head."""
    with torch.device("meta"):
        return int(AutoModel.from_config(config).num_parameters())


def _random_tokenizer(spec: BackboneSpec) -> PreTrainedTokenizerBase:
    config = architecture_config(spec, {})
    return _padding(build_tokenizer(config.model_type, _longest_input(config)), spec)


def _padding(tokenizer: PreTrainedTokenizerBase, spec: BackboneSpec) -> PreTrainedTokenizerBase:
    """Use the end-of-text token for padding if the tokenizer has no padding token (decoders)."""
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise SourceError(
                f"backbone={spec.name}: its tokenizer has neither a padding token nor an end of "
                "text that could be one; add pad_token to its tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _random_config(
    spec: BackboneSpec, tokens: PreTrainedTokenizerBase, head_options: Mapping[str, Any]
) -> PretrainedConfig:
    special = {
        "pad_token_id": tokens.pad_token_id,
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
    }
    return architecture_config(spec, {"vocab_size": len(tokens), **special, **head_options})


def _is_dropout(name: str) -> bool:
    return "dropout" in name or name.endswith("pdrop")


def _has_attention_dropout(config: PretrainedConfig, dropouts: Iterable[str]) -> bool:
    """Tell whether one of the configuration's dropouts applies to attention weights alone."""
    entry = architectures().get(config.model_type)
    alone = entry is None or entry.own_attention_dropout
    return alone and any(name.startswith("att") for name in dropouts)


def _positions(config: PretrainedConfig) -> int | None:
    keys = ("max_position_embeddings", "pad_token_id", "position_biased_input", "model_type")
    found = {key: getattr(config, key, None) for key in keys}
    return count_positions({key: value for key, value in found.items() if value is not None})


def _longest_input(config: PretrainedConfig) -> int:
    longest = getattr(config, "max_position_embeddings", _RELATIVE_POSITIONS)
    return int(longest - longest % 8)  # RoBERTa keeps the first positions for padding
