"""Bottleneck adapters: the module itself, and the adapter of Houlsby et al., 2019.

`pfeiffer` and `parallel` put the same module in other places.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.pytorch_utils import Conv1D

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.initialisation import initialise
from sparsead.backbones.dropout import Dropout
from sparsead.backbones.heads import list_backbone_modules
from sparsead.backbones.places import check_distinct
from sparsead.backbones.sites import site_modules
from sparsead.config.values.adapters import BOTTLENECK, check_sites, check_trained_parts
from sparsead.config.values.contract import check_all
from sparsead.errors import ConfigError

# Number of hidden units that fast matrix products process at once.
_BLOCK = 16


class Bottleneck(nn.Module):
    """scale · up(dropout(act(down(x)))), the last dimension of x being `width`.

    The adapter may have a LayerNorm of its own, before `down` or after the scaled output. Hidden
    units whose whole column of `up` is removed have no output and are not computed.
    """

    computed: Tensor | None

    def __init__(self, width: int, options: BottleneckOptions) -> None:
        super().__init__()
        self.down = nn.Linear(width, options.bottleneck)
        # Some have weights of their own, which transformers makes in bfloat16 for one of them.
        self.act = ACT2FN[options.activation].to(self.down.weight.dtype)
        self.dropout = Dropout(options.dropout)
        self.up = nn.Linear(options.bottleneck, width)
        self.scale = options.scale
        self.layer_norm = options.layer_norm
        if self.layer_norm is not None:
            self.norm = nn.LayerNorm(width)
        self.register_buffer("computed", None, persistent=False)

    def leave_out_removed(self, masks: Mapping[str, Tensor]) -> None:
        """Stop computing hidden units whose whole column of `up` is removed.

        Such a unit adds 0, and no gradient reaches its row of `down`. Training without it differs
        only by rounding and by which units dropout draws. Matrix products take hidden units in
        blocks, so as many removed units as fill up the last block are still computed.

        Args:
            masks: by names of this module's parameters, True where the weight is kept.
        """
        if "up.weight" not in masks:
            return
        self.computed = None  # these masks may keep units that earlier masks removed
        has_output = masks["up.weight"].any(dim=0)
        units = math.ceil(int(has_output.sum()) / _BLOCK) * _BLOCK
        if units < len(has_output):
            first = has_output.int().argsort(descending=True, stable=True)[:units]
            self.computed = first.sort().values.to(self.up.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor of shape (..., width) to the change of the same shape."""
        if self.layer_norm == "before":
            x = self.norm(x)
        change = self._change(x)
        if self.scale != 1:  # saves a pass over the states, and another over the gradient
            change = self.scale * change
        return self.norm(change) if self.layer_norm == "after" else change

    def _change(self, x: Tensor) -> Tensor:
        units = self.computed
        if units is None:
            change: Tensor = self.up(self.dropout(self.act(self.down(x))))
            return change
        down = self.down.weight.index_select(0, units), self.down.bias.index_select(0, units)
        up = self.up.weight.index_select(1, units), self.up.bias
        return linear(self.dropout(self.act(linear(x, *down))), *up)


@dataclass(frozen=True, kw_only=True)
class BottleneckOptions:
    """The options that all methods with bottlenecks share.

    Args:
        bottleneck: r, the width of the hidden layer.
        activation: a name of transformers' activations.
        scale: factor on the adapter's output before it is added.
        dropout: probability, on the hidden layer.
        layer_norm: place of the adapter's own LayerNorm, "before" or "after"; None: no LayerNorm.
        init: "bert" draws both sides from N(0, 0.02²); "zero_up" draws down and zeroes up.
    """

    bottleneck: int
    activation: str = "relu"
    scale: float = 1.0
    dropout: float = 0.0
    layer_norm: str | None = None
    init: str = "bert"

    def __post_init__(self) -> None:
        check_all(BOTTLENECK, vars(self))

    def attach(self, model: PreTrainedModel, module: nn.Module) -> Bottleneck:
        """Make a bottleneck the submodule `adapter` of `module`.

        As a submodule it leaves the names of the backbone's own parameters unchanged.
        """
        bottleneck = Bottleneck(model.config.hidden_size, self)
        module.add_module("adapter", bottleneck)
        return bottleneck

    def finish_insertion(
        self,
        model: PreTrainedModel,
        places: Iterable[str],
        seed: int,
        *,
        also: Iterable[str] = (),
        train_head: bool = True,
    ) -> AdaptedModel:
        """Draw the bottlenecks' weights and freeze the backbone.

        Args:
            model: a model in which `attach` put a bottleneck into each of `places`.
            places: full names of these modules.
            seed: the seed of the initial weights.
            also: full names of the backbone's own parameters that train with the bottlenecks.
            train_head: whether the head trains.
        """
        names = [
            f"{place}.adapter.{name}"
            for place in places
            for name, _ in model.get_submodule(f"{place}.adapter").named_parameters()
        ]
        drawn = [name for name in names if name.split(".")[-2] in ("down", "up")]
        initialise(model, drawn, init=self.init, up=".up.weight", seed=seed)
        prunable = (name for name in drawn if name.endswith(".weight"))
        return freeze_backbone(model, (*names, *also), prunable, train_head=train_head)


@ADAPTERS.register("bottleneck")
@dataclass(frozen=True, kw_only=True)
class BottleneckAdapter(BottleneckOptions):
    """y = x + change(x) at every site of the kinds in `sites`, x being the site's output.

    Houlsby et al., 2019 (arXiv:1902.00751), figure 2.

    Args:
        sites: kinds of site, fields of `sparsead.backbones.contract.Sites`.
        backbone_norms: "trained" trains the backbone's LayerNorms too, as Houlsby et al. do
            (section 2.1); "frozen" leaves them as they are.
        head: "trained", or "frozen" as it was drawn.
    """

    sites: Sequence[str]
    backbone_norms: str = "frozen"
    head: str = "trained"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_trained_parts(vars(self))

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Attach the adapters to the model's sites and freeze the backbone.

        Raises:
            ConfigError: a site is unknown, the architecture has none of a kind, or two are one
                module.
        """
        norms = _norms(model) if self.backbone_norms == "trained" else []
        places: dict[str, nn.Module] = {}
        for site in self.sites:
            places |= _with_output_of_width(model, site)
        check_distinct(model.config.model_type, self.sites)
        for module in places.values():
            self.attach(model, module)
            module.register_forward_hook(_apply_adapter)
        train_head = self.head == "trained"
        return self.finish_insertion(model, places, seed, also=norms, train_head=train_head)


def _norms(model: PreTrainedModel) -> list[str]:
    """Return the names of the parameters of the backbone's normalisation layers."""
    parts = list_backbone_modules(model)
    backbone = {id(module) for part in parts for module in part.modules()}
    return [
        f"{name}.{parameter}"
        for name, module in model.named_modules()
        if id(module) in backbone and type(module).__name__.endswith("Norm")
        for parameter, _ in module.named_parameters(recurse=False)
    ]


def _with_output_of_width(model: PreTrainedModel, site: str) -> dict[str, nn.Module]:
    """Return the modules of a site; refuse outputs of another width than the hidden states."""
    width = model.config.hidden_size
    check_sites({"sites": [site]})
    modules = site_modules(model, site)
    for name, module in modules.items():
        given = _outputs(module)
        if given not in (None, width):
            raise ConfigError(
                f"adapter.sites={site}: {name} gives {given} values, and a bottleneck takes {width}"
            )
    return modules


def _outputs(module: nn.Module) -> int | None:
    """Return the output width of a linear layer; None for other modules, which keep the width."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return int(module.nf) if isinstance(module, Conv1D) else None


def _apply_adapter(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    change: Tensor = module.adapter(output)  # type: ignore[operator]
    return output + change
