"""`sparsead params`: what a run would train, store and compute, counted without weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from sparsead.adapters.accounting import parameter_accounting
from sparsead.arguments import Parser, add_overrides
from sparsead.assembly import insert, task_and_adapter, weights_metadata
from sparsead.backbones.loading import skeleton
from sparsead.compose import compose
from sparsead.config import BackboneSpec, RunSpec
from sparsead.errors import ConfigError
from sparsead.pruning.storage import sparse_size
from sparsead.report.formats import FORMATS
from sparsead.training.quiet import quiet_libraries

Row = dict[str, Any]

_OUTPUTS = ("rich", "json")
_LEGEND = (
    "nominal %: kept adapter weights ÷ the backbone's parameters, head excluded, as the paper.\n"
    "nonzero: what trains, kept adapter weights and the head. bytes: of the run's weights file.\n"
)


def main() -> None:
    """Entry point of `sparsead params`."""
    parser = Parser("sparsead params", __doc__)
    add_overrides(parser, "as `sparsead train` takes them")
    parser.add_argument(
        "--paper", action="store_true", help="the #Param columns of the paper's Tables 1, 2 and 3"
    )
    parser.add_argument("--format", choices=_OUTPUTS, default="rich")
    arguments = parser.parse()
    if arguments.paper and arguments.overrides:
        raise ConfigError("params: --paper names the runs itself: leave out the overrides")
    quiet_libraries()
    rows = paper_rows() if arguments.paper else [run_row(compose(arguments.overrides))]
    legend = _LEGEND if arguments.format == "rich" else ""
    sys.stdout.write(FORMATS[arguments.format](list(rows[0]), rows) + legend)


def run_row(spec: RunSpec) -> Row:
    """Return the four figures of a run, and what they are made of."""
    counts = account(spec)
    return {
        "backbone": spec.backbone.name,
        "adapter": spec.adapter.name,
        "r": spec.adapter.options.get("bottleneck"),
        "sparsity": round(spec.sparsity, 4),
        "backbone parameters": counts["backbone"],
        "adapter parameters": counts["adapter"],
        "nominal %": round(100 * counts["nominal"], 2),
        "nonzero": counts["trainable_nonzero"],
        "bytes": counts["stored_bytes"],
        "added FLOPs/token": counts["added_flops_per_token"],
    }


def paper_rows() -> list[Row]:
    """Return, for every figure in the #Param columns of Tables 1 to 3, what the paper prints."""
    text = (files("sparsead.conf") / "params.yaml").read_text("utf-8")
    printed = cast(list[Row], OmegaConf.to_container(OmegaConf.create(text)))
    return [_paper_row(row) for row in printed]


def account(spec: RunSpec) -> dict[str, Any]:
    """Return what `parameter_accounting` would record of the run, its stored bytes included.

    Raises:
        SparseadError: an option is unknown, or the adapter has no place in the backbone.
    """
    task, adapter = task_and_adapter(spec)
    adapted = insert(spec, adapter, _shapes(spec, task))
    state = adapted.model.state_dict()
    shapes = {name: tuple(state[name].shape) for name in adapted.stored}
    removed = round(spec.sparsity * sum(state[name].numel() for name in adapted.prunable))
    metadata = weights_metadata(spec, _fingerprint(spec.backbone))
    stored = sparse_size(shapes, adapted.prunable, removed, metadata)
    return parameter_accounting(adapted, removed, stored)


def _shapes(spec: RunSpec, task: Any) -> PreTrainedModel:
    """Return the model without its weights; a fusion is told apart from its sources' zeros."""
    device = "cpu" if spec.adapter.sources() else "meta"
    return skeleton(spec.backbone, task.head, task.head_options, device)


def _paper_row(row: Mapping[str, Any]) -> Row:
    ours = run_row(compose(row["run"]))
    return {
        "table": row["table"],
        "row": row["row"],
        **{key: ours[key] for key in ("backbone", "r", "sparsity", "adapter parameters")},
        "paper %": row["printed"],
        "nominal %": ours["nominal %"],
    }


def _fingerprint(backbone: BackboneSpec) -> Mapping[str, str]:
    """Return a fingerprint of the right length; weights that are not here are taken as one file."""
    return dict.fromkeys(_weight_files(backbone), 64 * "0")


def _weight_files(backbone: BackboneSpec) -> Sequence[str]:
    if backbone.path is not None:
        return sorted(file.name for file in Path(backbone.path).glob("*.safetensors"))
    return [SAFE_WEIGHTS_NAME] if backbone.hub or backbone.package else []
