"""The names that were probably meant by a name that does not exist, for hints in error messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches

OTHER_NAMES_OF_KEYS = {
    "learning_rate": "lr",
    "epochs": "num_train_epochs num_epochs max_epochs n_epochs",
    "batch_size": "per_device_train_batch_size train_batch_size bs",
    "eval_batch_size": "per_device_eval_batch_size eval_bs",
    "head_learning_rate": "head_lr classifier_lr classifier_learning_rate",
    "layer_decay": "layerwise_lr_decay lr_decay llrd",
    "scheduler": "lr_scheduler lr_scheduler_type schedule",
    "scheduler_options": "lr_scheduler_kwargs scheduler_kwargs",
    "gradient_accumulation": "gradient_accumulation_steps accumulate_grad_batches accumulation",
    "max_steps": "num_training_steps max_train_steps num_steps steps",
    "patience": "early_stopping_patience early_stopping",
    "label_smoothing": "label_smoothing_factor",
    "class_weights": "class_weight",
    "deterministic": "full_determinism",
    "torch_compile": "compile",
    "betas": "adam_beta1 adam_beta2 adam_betas beta1 beta2",
    "weight_decay": "wd",
    "warmup": "warmup_ratio warmup_steps num_warmup_steps warmup_proportion",
    "rounds": "iterations num_iterations n_iterations prune_iterations",
    "max_grad_norm": "gradient_clip_val grad_clip clip",
    "gradient_checkpointing": "activation_checkpointing",
    "evaluations": "eval_steps num_evaluations",
    "selection": "val_split validation_split holdout",
    "backbone": "model model_name model_name_or_path pretrained_model_name_or_path base_model",
    "task": "dataset dataset_name task_name data",
    "task.path": "data_dir data_path dataset_dir",
    "task.train": "train_file train_data",
    "task.validation": "validation_file eval_file dev_file",
    "task.test": "test_file predict_file",
    "task.limit": "max_train_samples max_samples",
    "max_length": "max_seq_length max_seq_len cutoff_len max_source_length",
    "bottleneck": "r rank lora_r bottleneck_size reduction_factor prefix_length num_virtual_tokens",
    "alpha": "lora_alpha",
    "adapter.dropout": "lora_dropout adapter_dropout",
    "adapter.sites": "target_modules",
    "activation": "non_linearity nonlinearity",
    "sparsity": "density pruning_ratio prune_ratio sparsity_ratio",
    "pruner": "pruning prune pruning_method pruner_name",
    "adapter": "peft peft_type adapter_config adapter_name",
    "outputs": "output output_dir out outdir save_dir",
    "rerun": "overwrite overwrite_output_dir force",
    "threads": "num_threads n_threads cpus cores omp_num_threads torch_num_threads",
    "precision": "fp16 bf16 mixed_precision dtype",
    "device": "no_cuda use_cpu cuda gpu",
    "seed": "random_seed random_state",
}
"""Each key, or its last part, with the names that other programs have for it."""

OTHER_NAMES_OF_CHOICES = {
    "cuda": "gpu",
    "bf16": "fp16 half float16 bfloat16 mixed",
    "fp32": "float32 full",
    "bert-base": "bert-base-uncased bert",
    "distilbert-base": "distilbert-base-uncased",
    "electra-base": "electra-base-discriminator",
    "roberta-base": "roberta",
    "houlsby": "adapter bottleneck adapters double_seq_bn",
    "pfeiffer": "seq_bn",
    "parallel": "par_seq_bn",
    "full": "fine-tune finetune fine_tuning",
    "head": "linear probe linear_probe",
    "magnitude": "l1 abs",
    "none": "dense",
    "sst2": "sst-2 sst",
    "stsb": "sts-b sts_b",
    "cosine": "cosine_with_warmup",
    "reduce_lr_on_plateau": "plateau",
}
"""Some choices, with the names that other programs have for them."""

_SIMILAR_KEY = 0.6
_SIMILAR_ELSEWHERE = 0.75
"""How similar the name of a key of another group must be."""
_SIMILAR_CHOICE = 0.4
_NAMED = 3


def _by_other_name(names: dict[str, str]) -> dict[str, str]:
    return {other: name for name, others in names.items() for other in others.split()}


_MEANT_KEYS = _by_other_name(OTHER_NAMES_OF_KEYS)
_MEANT_CHOICES = _by_other_name(OTHER_NAMES_OF_CHOICES)


def nearest_choice(
    name: str, choices: Sequence[str], likeness: float = _SIMILAR_CHOICE
) -> str | None:
    """Return the choice that was probably meant, or None.

    It is the one that other programs call `name`, one that starts with `name`, or a similar one.
    Upper and lower case do not matter.

    Args:
        name: what was typed.
        choices: what can be chosen.
        likeness: how similar a choice must be, from 0 for any to 1 for the same letters.
    """
    small, by_small = name.lower(), {choice.lower(): choice for choice in choices}
    meant = _MEANT_CHOICES.get(small, "")
    begin = [meant] if meant in by_small else [c for c in by_small if small and c.startswith(small)]
    near = begin or get_close_matches(small, by_small, n=1, cutoff=likeness)
    return by_small[near[0]] if near else None


def nearest_keys(key: str, keys: Iterable[str]) -> list[str]:
    """Return the keys that were probably meant by a key that does not exist, at most three.

    Keys of the same group are preferred to equally near ones of other groups.

    Args:
        key: the typed key, such as `protocol.lr`.
        keys: all keys, with their groups.
    """
    others = [other for other in keys if other != key]
    near = [other for other in others if _group(other) == _group(key)]
    return same_meaning(key, near) or same_meaning(key, others) or _similar(key, near, others)


def same_meaning(key: str, keys: Sequence[str]) -> list[str]:
    """Return those keys that have the typed name, or whose name in other programs it is.

    Of several, those in the fewest groups are returned, and at most three.
    """
    name = _last(key)
    for meant in (name, _MEANT_KEYS.get(name.lower())):
        found = [other for other in keys if meant in (other, _last(other))]
        if found:
            fewest = min(other.count(".") for other in found)
            return [other for other in found if other.count(".") == fewest][:_NAMED]
    return []


def _similar(key: str, near: Sequence[str], far: Sequence[str]) -> list[str]:
    name = _last(key)
    begin = [other for other in near if name and _last(other).startswith(name)]
    if begin:
        return begin[:1]
    likeness = {other: _likeness(name, _last(other)) for other in (*near, *far)}
    enough = {other: _SIMILAR_KEY if other in near else _SIMILAR_ELSEWHERE for other in likeness}
    alike = [other for other in likeness if likeness[other] >= enough[other]]
    return [max(alike, key=lambda other: likeness[other])] if alike else []


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def _group(key: str) -> str:
    return key.rpartition(".")[0]


def _last(key: str) -> str:
    return key.rpartition(".")[2]
