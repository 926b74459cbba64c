"""The tuners of the library peft, inserted by peft itself and pruned like every other adapter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.config.values.adapters import FACTORS, NO_PEFT, TUNERS
from sparsead.errors import ConfigError, unknown
from sparsead.errors.display import one_line

if TYPE_CHECKING:
    from peft import PeftConfig

log = logging.getLogger(__name__)


@ADAPTERS.register("peft")
@dataclass(frozen=True)
class PeftTuner:
    """One of peft's tuners that change modules, such as LoHa, LoKr, (IA)³, OFT or MiSS.

    Its matrices are prunable, or its vectors if it has no matrices; biases and `FACTORS`, which
    start at one, are not. What peft draws depends on the seed alone. peft renames the modules that
    it wraps, so that such a run cannot be merged or exported.

    Args:
        type: one of `TUNERS`, peft's names in lower case.
        config: keys of peft's configuration of that tuner, such as `r` and `target_modules`.
    """

    type: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Let peft insert the tuner, and freeze the rest of the backbone.

        Raises:
            ConfigError: peft is not installed, it has no such tuner, it refuses the configuration,
                or weights of the backbone would train too.
        """
        before = {id(parameter) for parameter in model.parameters()}
        model.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._inject(model)
        self._check_added(model, before)
        trained = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and id(parameter) not in before
        }
        weights = [
            name
            for name in trained
            if not name.endswith(".bias") and not any(factor in name for factor in FACTORS)
        ]
        matrices = [name for name in weights if trained[name].ndim > 1]
        adapted = freeze_backbone(model, trained, prunable=matrices or weights)
        return replace(adapted, counts_flops=False)

    def _check_added(self, model: PreTrainedModel, before: Collection[int]) -> None:
        """Refuse a configuration by which weights of the backbone train too, such as bias=all."""
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and id(parameter) in before:
                raise ConfigError(
                    f"adapter.type={self.type} adapter.config={dict(self.config)}: lets {name} of "
                    "the backbone train too, which is not recorded here; leave that key out "
                    "(adapter=bitfit trains biases)"
                )

    def _inject(self, model: PreTrainedModel) -> None:
        try:
            import peft
            from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
        except ImportError as error:
            raise ConfigError(NO_PEFT) from error
        known: dict[str, type[PeftConfig]] = {
            kind.value.lower(): config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        }
        kinds = {name: known[name] for name in TUNERS if name in known}
        if self.type not in kinds:
            raise ConfigError(unknown("adapter.type", self.type, kinds))
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always", UserWarning)
                peft.inject_adapter_in_model(kinds[self.type](**self.config), model)
            for each in warned:  # such as a size that peft has changed
                log.warning("peft: %s", one_line(str(each.message)))
        except Exception as error:  # each tuner checks its configuration in its own way
            reason = one_line(f"{type(error).__name__}: {error}")
            raise ConfigError(
                f"adapter.type={self.type} adapter.config={dict(self.config)}: peft refuses it: "
                f"{reason}"
            ) from error
