"""The Trainer's arguments of a run, from its protocol."""

from __future__ import annotations

import logging
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from sparsead.config.protocol import ProtocolSpec
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError
from sparsead.errors.display import pluralize

log = logging.getLogger(__name__)
_CHECKPOINTING = next(
    field.name
    for field in fields(TrainingArguments)
    if field.name in ("activation_checkpointing", "gradient_checkpointing")
)
"""transformers' name for `protocol.gradient_checkpointing`: later versions renamed it."""


def training_arguments(
    spec: RunSpec, folder: Path, device: str, precision: str, examples: int
) -> TrainingArguments:
    """Return the Trainer's arguments.

    Args:
        spec: the run.
        folder: the run's folder, for checkpoints.
        device: the kind of the device, such as "cpu".
        precision: "fp32" or "bf16".
        examples: number of training examples.

    Raises:
        ConfigError: the training has too few batches for `protocol.gradient_accumulation`, or too
            few steps for `protocol.max_steps`, `protocol.warmup` or the schedule, or its batches
            cannot be divided among the processes.
    """
    protocol = spec.protocol
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=protocol.epochs,
        per_device_eval_batch_size=protocol.eval_batch_size,
        gradient_accumulation_steps=protocol.gradient_accumulation,
        learning_rate=protocol.learning_rate,
        weight_decay=protocol.weight_decay,
        adam_beta1=protocol.betas[0],
        adam_beta2=protocol.betas[1],
        max_grad_norm=protocol.max_grad_norm,
        warmup_steps=protocol.warmup,  # below 1: a share of the steps
        lr_scheduler_type=protocol.scheduler,
        lr_scheduler_kwargs=protocol.scheduler_options,
        eval_strategy="epoch",
        logging_strategy="epoch",
        logging_nan_inf_filter=False,  # it would wait for the GPU in every step
        save_strategy="epoch",
        report_to=[],
        disable_tqdm=True,
        seed=spec.seeds.data,
        use_cpu=device == "cpu",
        bf16=precision == "bf16",
        torch_compile=protocol.torch_compile,
        **_unless_default(spec),
        dataloader_pin_memory=device == "cuda",
        accelerator_config={"non_blocking": device == "cuda"},
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # on several GPUs the Trainer would multiply the batch size
    arguments.per_device_train_batch_size = protocol.share_of_batch(arguments.world_size)
    check_steps(spec, examples)
    if protocol.warmup and protocol.steps(examples) == 1:
        log.warning(
            "protocol.warmup=%g: gives the only step a learning rate of 0, so that nothing is "
            "trained; train for more steps, or set protocol.warmup=0",
            protocol.warmup,
        )
    return arguments


def _unless_default(spec: RunSpec) -> dict[str, Any]:
    protocol = spec.protocol
    limit = {} if protocol.max_steps is None else {"max_steps": protocol.max_steps}
    # Else the Trainer lets a compiled run, and all later ones of the process, multiply in TF32.
    exact = {"tf32": False} if protocol.torch_compile else {}
    return limit | exact | ({_CHECKPOINTING: True} if protocol.gradient_checkpointing else {})


def check_steps(spec: RunSpec, examples: int) -> None:
    """Refuse a protocol that needs more batches or steps than so many training examples give.

    Raises:
        ConfigError: the message names the key and how many batches or steps there are.
    """
    protocol = spec.protocol
    batches = protocol.batches_per_epoch(examples)
    if protocol.gradient_accumulation > max(batches, 1):
        raise ConfigError(
            f"protocol.gradient_accumulation={protocol.gradient_accumulation}: is more than the "
            f"number of batches in an epoch, {batches}; give fewer"
        )
    of_epoch = protocol.steps_per_epoch(examples)
    whole, wanted = protocol.epochs * of_epoch, protocol.max_steps
    if wanted is not None and wanted > whole:
        needed = -(-wanted // of_epoch)
        raise ConfigError(
            f"protocol.max_steps={wanted}: there are only {pluralize(whole, 'step')} in "
            f"{pluralize(protocol.epochs, 'epoch')}; leave it out, or choose "
            f"protocol.epochs={needed}"
        )
    steps = protocol.steps(examples)
    if protocol.warmup >= max(steps, 1):
        raise ConfigError(
            f"protocol.warmup={protocol.warmup:g}: the training has only "
            f"{pluralize(steps, 'step')}; give fewer, or a share of them below 1"
        )
    _check_decay(protocol, steps)


def _check_decay(protocol: ProtocolSpec, steps: int) -> None:
    """Refuse a schedule whose rate could not fall in the steps that the warm-up leaves."""
    share = protocol.warmup < 1
    left = steps - math.ceil(steps * protocol.warmup if share else protocol.warmup)
    if protocol.scheduler == "polynomial" and left < 1:
        raise ConfigError(
            f"protocol.scheduler=polynomial: the warm-up takes all steps of the training, {steps}; "
            "train for more, or set protocol.warmup=0"
        )
    stable = protocol.scheduler_options.get("num_stable_steps", 0)
    falls = protocol.scheduler_options.get("num_decay_steps", 0)
    if stable and stable + falls > left:
        raise ConfigError(
            f"protocol.scheduler_options.num_stable_steps={stable}: with num_decay_steps={falls} "
            f"it takes more than the {pluralize(left, 'step')} after the warm-up; give fewer"
        )
    if falls > left:
        raise ConfigError(
            f"protocol.scheduler_options.num_decay_steps={falls}: the training has only "
            f"{pluralize(left, 'step')} after the warm-up; give fewer"
        )
