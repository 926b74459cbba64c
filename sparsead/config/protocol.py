"""The protocol of a training: its optimiser, schedule, batches, evaluations and early stopping."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from sparsead.config.schedules import check_schedule
from sparsead.config.schema import check_choice, check_largest, check_minimum, check_recordable
from sparsead.errors import ConfigError

_WITHOUT_WARMUP = ("constant", "reduce_lr_on_plateau")
_CLASS_WEIGHTS = ("balanced",)


def check_rate(key: str, rate: float) -> None:
    """Refuse a learning rate that is not above 0 and below 1.

    Raises:
        ConfigError: it is not; the message names the key.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"{key}={rate:g}: must be above 0 and below 1")


@dataclass
class ProtocolSpec:
    """Optimiser, learning-rate schedule and batch sizes.

    Attributes:
        epochs: passes over the training set.
        learning_rate: the highest rate, after the warm-up.
        batch_size: training examples of a batch, of all processes together.
        eval_batch_size: examples of a batch of an evaluation.
        weight_decay: of AdamW.
        betas: of AdamW.
        warmup: share of the steps in which the rate rises from 0, or from 1 on their number.
        max_grad_norm: norm to which longer gradients are scaled.
        selection: share of the training examples that is held out as the selection split, on which
            runs are compared; the task's validation split is then scored only once, at the end.
        gradient_checkpointing: recompute each layer's activations instead of storing them.
        evaluations: number of evaluations a run, spread evenly over its steps and rounded up so
            that each epoch has equally many; besides them there is one before training. None is
            one at the end of each epoch alone.
        scheduler: the Trainer's name of the schedule.
        scheduler_options: keyword arguments of that schedule.
        gradient_accumulation: batches whose gradients are averaged for one step.
        max_steps: the training ends after so many steps; None at the end of its epochs.
        patience: the training ends after so many epochs in a row without a better score on the
            selection split, and the best epoch's weights are kept.
        label_smoothing: share of each label that is spread over all classes or tokens.
        class_weights: `balanced` weights each example by the rarity of its class.
        head_learning_rate: the highest rate of the head; None: as `learning_rate`.
        layer_decay: factor on the rate of each layer's parameters for every layer above it.
        torch_compile: compile the model.
        deterministic: use only deterministic algorithms on a GPU.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    eval_batch_size: int
    weight_decay: float
    betas: list[float]
    warmup: float
    max_grad_norm: float
    selection: float
    gradient_checkpointing: bool = False
    evaluations: int | None = None
    scheduler: str = "linear"
    scheduler_options: dict[str, Any] = field(default_factory=dict)
    gradient_accumulation: int = 1
    max_steps: int | None = None
    patience: int | None = None
    label_smoothing: float = 0.0
    class_weights: str | None = None
    head_learning_rate: float | None = None
    layer_decay: float = 1.0
    torch_compile: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        check_recordable("protocol", asdict(self))
        check_largest("protocol", asdict(self))
        counts = ("epochs", "batch_size", "eval_batch_size", "gradient_accumulation")
        for key in (*counts, "evaluations", "max_steps", "patience"):
            if getattr(self, key) is not None:
                check_minimum(f"protocol.{key}", getattr(self, key), 1)
        check_minimum("protocol.weight_decay", self.weight_decay, 0)
        check_minimum("protocol.max_grad_norm", self.max_grad_norm, 0)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"protocol.betas={list(self.betas)}: must be two numbers in [0, 1)")
        for key in ("selection", "label_smoothing"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"protocol.{key}={getattr(self, key):g}: must be in [0, 1)")
        for key in ("learning_rate", "head_learning_rate"):
            rate = getattr(self, key)
            if rate is not None:
                check_rate(f"protocol.{key}", rate)
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(
                f"protocol.layer_decay={self.layer_decay:g}: must be above 0, and at most 1"
            )
        if self.class_weights is not None:
            check_choice("protocol.class_weights", self.class_weights, _CLASS_WEIGHTS)
        self._check_schedule()
        if self.patience is not None and not self.selection:
            raise ConfigError(
                f"protocol.patience={self.patience}: watches the score on a held-out part of the "
                "training set, of which there is none; choose protocol=clean or "
                "protocol.selection=0.1"
            )

    def _check_schedule(self) -> None:
        check_schedule(self.scheduler, self.scheduler_options, self.learning_rate)
        if not (0 <= self.warmup < 1 or self.warmup == math.floor(self.warmup) >= 1):
            raise ConfigError(
                f"protocol.warmup={self.warmup:g}: must be a share of the steps, which is at least "
                "0 and below 1, or a whole number of steps"
            )
        if self.scheduler in _WITHOUT_WARMUP and self.warmup:
            other = "; or choose constant_with_warmup" if self.scheduler == "constant" else ""
            raise ConfigError(
                f"protocol.scheduler={self.scheduler}: has no warm-up; add protocol.warmup=0{other}"
            )

    def evaluations_per_epoch(self, examples: int) -> int:
        """Return the number of evaluations in each epoch, the one at its end included."""
        share = self.steps_per_epoch(examples) / self.steps(examples)
        return 1 if self.evaluations is None else math.ceil(self.evaluations * share)

    def steps(self, examples: int) -> int:
        """Return the number of steps of a whole training, in however many processes."""
        whole = self.epochs * self.steps_per_epoch(examples)
        return whole if self.max_steps is None else min(whole, self.max_steps)

    def steps_per_epoch(self, examples: int) -> int:
        """Return the number of steps of an epoch."""
        return max(1, math.ceil(self.batches_per_epoch(examples) / self.gradient_accumulation))

    def planned_epochs(self, examples: int) -> float:
        """Return the epochs of a whole training, the last one by the share of its batches."""
        epochs, steps = divmod(self.steps(examples), self.steps_per_epoch(examples))
        batches = max(1, self.batches_per_epoch(examples))
        return epochs + steps * self.gradient_accumulation / batches

    def batches_per_epoch(self, examples: int) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(examples / self.batch_size)

    def share_of_batch(self, processes: int) -> int:
        """Return how many examples of each batch one of several processes computes.

        All processes together compute a batch of `batch_size`, so that their number does not
        change what is trained.

        Raises:
            ConfigError: the batches cannot be divided equally among the processes.
        """
        share, rest = divmod(self.batch_size, processes)
        if rest:
            raise ConfigError(
                f"protocol.batch_size={self.batch_size}: cannot be divided among {processes} "
                f"processes; choose a multiple of {processes}, such as "
                f"protocol.batch_size={(share + 1) * processes}, or another number of processes"
            )
        return share
