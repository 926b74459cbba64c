"""The versions that the project runs with, and the private names of other packages that it uses.

A private name may go or change with any release of its package. All of them are listed here, so
that this test says at once what a new version of transformers, torch or Hydra breaks.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra._internal.callbacks
import hydra._internal.utils
import optuna
import pytest
import sacrebleu
import torch
from hydra._internal.core_plugins import basic_sweeper
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf
from packaging.requirements import Requirement
from packaging.version import Version
from torch import nn
from torch.utils import _python_dispatch
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

from sparsead.training.trainer import SparseadTrainer

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

PRIVATE: list[tuple[Any, str]] = [
    (
        Trainer,
        "_determine_best_metric _get_train_sampler _globalstep_last_logged _load_from_checkpoint "
        "_load_optimizer_and_scheduler _load_rng_state _remove_unused_columns _save "
        "_save_checkpoint _tr_loss",
    ),
    (TrainingArguments, "_n_gpu"),
    (PreTrainedConfig, "_attn_implementation"),
    (PreTrainedModel, "_can_set_attn_implementation"),
    (AutoModelForSequenceClassification, "_model_mapping"),
    (nn.Module(), "_forward_pre_hooks _modules _parameters"),
    (torch.zeros(1), "_backward_hooks _version"),
    (torch.cpu, "_is_amx_tile_supported _is_avx512_bf16_supported"),
    (torch.ops.aten, "_efficient_attention_forward"),
    (torch.ops.mkldnn, "_is_mkldnn_bf16_supported"),
    (torch._compile, "_disable_dynamo"),
    (_python_dispatch, "TorchDispatchMode"),
    (hydra._internal.callbacks, "Callbacks"),
    (JobReturn, "_return_value"),
    (hydra._internal.utils, "get_args_parser"),
    (basic_sweeper, "BasicSweeper"),
    (optuna.trial.FrozenTrial, "_trial_id"),
    (OmegaConf.create({}), "_get_root"),
    (argparse.ArgumentParser(), "_actions _option_string_actions"),
    (sacrebleu.BLEU, "_compute_score_from_stats _extract_corpus_statistics"),
]
"""By owner, the private names that the project uses, or the names of a private module."""

DOCUMENTED = {"_asdict", "_exit", "_replace"}
"""Public in spite of their underscore: those of named tuples, and of `os`."""


@pytest.mark.parametrize(
    ("owner", "name"),
    [pytest.param(owner, name, id=name) for owner, names in PRIVATE for name in names.split()],
)
def test_a_private_name_of_another_package_is_still_there(owner: Any, name: str) -> None:
    if not hasattr(owner, name):  # an attribute that only an instance has, or only in training
        assert f"self.{name}" in inspect.getsource(owner)


def test_the_variable_length_kernel_takes_the_arguments_that_it_is_given() -> None:
    schema = torch.ops.aten._efficient_attention_forward.default._schema
    names = ["query", "key", "value", "bias", "cu_seqlens_q", "cu_seqlens_k", "max_seqlen_q"]
    names += ["max_seqlen_k", "dropout_p", "custom_mask_type", "compute_log_sumexp", "scale"]
    assert [each.name for each in schema.arguments][: len(names)] == names


def test_no_other_private_name_is_used() -> None:
    trees = [
        ast.parse(file.read_text("utf-8"))
        for folder in ("sparsead", "scripts")
        for file in sorted((ROOT / folder).rglob("*.py"))
    ]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    own = {name for node in nodes for name in defined_names(node)}
    used = {name for node in nodes for name in used_private_names(node)}
    ours = {name for name in vars(SparseadTrainer) if is_private(name)}
    overridden = ours.intersection(dir(Trainer))
    listed = {name for _, names in PRIVATE for name in names.split()}
    assert (used - own | overridden) - DOCUMENTED - listed == set()
    assert listed - used - overridden == set()


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined_names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node of a syntax tree defines."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.Assign(targets=targets):
            for target in targets:
                yield from assigned_to_self(target)
        case ast.AnnAssign(target=target):
            yield from assigned_to_self(target)


def assigned_to_self(target: ast.expr) -> Iterator[str]:
    match target:
        case ast.Attribute(value=ast.Name(id="self" | "ctx"), attr=name):
            yield name
        case ast.Tuple(elts=elements):
            for element in elements:
                yield from assigned_to_self(element)


def used_private_names(node: ast.AST) -> Iterator[str]:
    """Yield the private names that a node reads, and all names of private modules."""
    match node:
        case ast.Attribute(attr=name) if is_private(name):
            yield name
        case ast.ImportFrom(module=str(module), names=aliases) if not module.startswith("sparsead"):
            private = any(is_private(part) for part in module.split("."))
            yield from (alias.name for alias in aliases if private or is_private(alias.name))


def requirements() -> list[Requirement]:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(each) for group in groups for each in group]


def test_the_lowest_versions_are_those_of_the_bounds() -> None:
    lines = (ROOT / "constraints-lowest.txt").read_text("utf-8").splitlines()
    pinned = {line.split("==")[0]: Version(line.split("==")[1]) for line in lines if "==" in line}
    bounds = {
        each.name: Version(bound.version)
        for each in requirements()
        for bound in each.specifier
        if bound.operator in (">=", "==")
    }
    assert pinned == bounds


def test_every_requirement_has_a_lower_bound_and_transformers_an_upper_one() -> None:
    for each in requirements():
        assert any(bound.operator in (">=", "==") for bound in each.specifier), each
    (transformers,) = (each for each in requirements() if each.name == "transformers")
    assert transformers.specifier.contains("5.23")
    assert not transformers.specifier.contains("6.0")


def test_pythons_bound_ends_where_hydra_fails() -> None:
    # hydra-core 1.3 cannot build its argument parser on Python 3.14 (facebookresearch/hydra#3121).
    (hydra_core,) = (each for each in requirements() if each.name == "hydra-core")
    assert not hydra_core.specifier.contains("1.4")
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
