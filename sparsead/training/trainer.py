"""transformers' Trainer with the protocol's optimiser and a batch order fixed by the seed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset, DatasetDict
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_pt_utils import find_batch_size
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import SAFE_WEIGHTS_NAME

from sparsead.config.groups import ProtocolSpec
from sparsead.config.run import RunSpec
from sparsead.runs.staging import check_owned
from sparsead.tasks.contract import Collator, Task
from sparsead.training.evaluation import (
    WithinEpochs,
    collate_batches,
    count_loss_terms,
    count_tokens,
    padded_columns,
    restore_order,
    token_batches,
    unwrap_batch,
)
from sparsead.training.prediction import (
    COLLAPSED,
    Scorer,
    build_scorer,
    higher_is_better,
    unfinished_predictions,
)
from sparsead.training.resume import readable, seal_checkpoint
from sparsead.training.sampling import SeededOrder

log = logging.getLogger(__name__)

_CHECKPOINTING = next(
    field.name
    for field in fields(TrainingArguments)
    if field.name in ("activation_checkpointing", "gradient_checkpointing")
)
"""transformers' name for `protocol.gradient_checkpointing`: later versions renamed it."""


class SparseadTrainer(Trainer):
    """A Trainer whose batches come in the order of `SeededOrder`.

    It evaluates and predicts in batches of similar length; those of the validation split are built
    once. `scorer_of` returns the scorer for an encoded split and its name; `higher_is_better` tells
    the direction of the metric of that name.
    """

    scorer_of: Callable[[Dataset, str], Scorer | None]
    higher_is_better: Callable[[str], bool]
    _validation: DataLoader[Any] | None = None

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Evaluate on validation, or on another split, whose name is the metrics' prefix.

        The global random generators are left as they were, so that the number of evaluations does
        not change what is trained.
        """
        rows = cast(Dataset, self.eval_dataset if eval_dataset is None else eval_dataset)
        split = "validation" if metric_key_prefix == "eval" else metric_key_prefix
        self.compute_metrics = self._ordered(self.scorer_of(rows, split), rows)
        with torch.random.fork_rng(devices=[]):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Return the batches of validation, which are the same in every epoch, or of a split."""
        if eval_dataset is not None:
            return self.get_test_dataloader(eval_dataset)
        if self._validation is None:
            self._validation = self.get_test_dataloader(cast(Any, self.eval_dataset))
        return self._validation

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """Return the batches of a split, of about equal token count."""
        if self._shared_out:
            return super().get_test_dataloader(test_dataset)
        rows = self._remove_unused_columns(test_dataset, "evaluation")
        ready = collate_batches(rows, self._batches(test_dataset), self.data_collator)
        pinned = self.args.dataloader_pin_memory
        # The batch size is 1 and not None, because accelerate warns at each evaluation without one.
        loader: DataLoader[Any] = DataLoader(
            cast(Any, ready), 1, collate_fn=unwrap_batch, pin_memory=pinned
        )
        return cast(DataLoader[Any], self.accelerator.prepare(loader))

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Evaluate; the loss is the mean over all rows or target tokens, whatever the batches."""
        self._losses: list[tuple[Tensor, int]] = []
        output = super().evaluation_loop(*args, **kwargs)
        name = f"{kwargs.get('metric_key_prefix', 'eval')}_loss"
        if output.metrics and name in output.metrics and not self._shared_out:
            total = sum(float(loss) * terms for loss, terms in self._losses)
            output.metrics[name] = total / sum(terms for _, terms in self._losses)
        return output

    def prediction_step(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Run one evaluation step, and store its loss and the number of terms in it."""
        loss, logits, labels = super().prediction_step(model, inputs, *args, **kwargs)
        if loss is not None:
            terms = count_loss_terms(inputs.get("labels"), find_batch_size(inputs))
            self._losses.append((loss, terms))
        return loss, logits, labels

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: nothing uses the count, and it would visit all parameters in every step."""
        return 0

    @property
    def _shared_out(self) -> bool:
        """Whether several processes share each evaluation, in batches of equal size."""
        return bool(self.args.world_size > 1)

    def _batches(self, rows: Dataset) -> list[list[int]]:
        if self._shared_out:
            return [list(range(len(rows)))]
        return token_batches(count_tokens(rows, padded_columns(rows)), self.args.eval_batch_size)

    def _ordered(self, score: Scorer | None, rows: Dataset) -> Scorer | None:
        if score is None:
            return None
        batches = self._batches(rows)
        return lambda output: score(
            EvalPrediction(
                restore_order(output.predictions, batches), restore_order(output.label_ids, batches)
            )
        )

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        data = cast(Dataset, train_dataset if train_dataset is not None else self.train_dataset)
        return SeededOrder(count_tokens(data), self.args.train_batch_size, self.args.seed)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint and its checksums, if this process still owns the run."""
        folder = Path(str(self.args.output_dir))
        if self.args.should_save:
            check_owned(folder)
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # each process writes the state of its generators
        if self.args.should_save:
            seal_checkpoint(folder, self.state.global_step)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with readable(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with readable(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with readable(checkpoint):
            super()._load_rng_state(checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write a checkpoint of the trainable parameters only; the backbone is frozen."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        model = cast(nn.Module, self.model)
        trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        save_file(trained, folder / SAFE_WEIGHTS_NAME, self._running_loss())

    def _running_loss(self) -> dict[str, str]:
        """Return the epoch's loss so far, which the Trainer's state does not contain."""
        steps = self.state.global_step - self._globalstep_last_logged
        return {"loss_sum": repr(self._tr_loss.item()), "loss_steps": str(steps)}

    def restore_running_loss(self, saved: Mapping[str, str]) -> None:
        """Restore the running loss of an epoch that was interrupted."""
        self._tr_loss += float(saved.get("loss_sum", 0))
        self._globalstep_last_logged -= int(saved.get("loss_steps", 0))

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Record the logs, and print one line for each evaluation."""
        super().log(logs, *args, **kwargs)
        if not math.isfinite(logs.get("loss", 0.0)):
            log.warning("epoch %g: the training loss is not finite: it diverges", logs["epoch"])
        if "eval_loss" in logs:
            shown = {name: f"{100 * value:.2f}" for name, value in _scores(logs).items()}
            shown = shown or {"loss": f"{logs['eval_loss']:.4f}"}
            line = ", ".join(f"{name} {value}" for name, value in shown.items())
            log.info("epoch %g: %s", logs["epoch"], line)

    def scores_in(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return an evaluation's scores, the main one first, without its loss and its times."""
        return _scores(metrics)

    def running_loss(self) -> float | None:
        """Return the mean training loss since it was last logged; None before the first step."""
        steps = self.state.global_step - self._globalstep_last_logged
        return float(self._tr_loss) / steps if steps > 0 else None


def build_trainer(
    spec: RunSpec,
    model: PreTrainedModel,
    data: DatasetDict,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    collator: Collator,
    folder: Path,
    precision: str,
) -> SparseadTrainer:
    """Return the trainer of a run, which trains on train and evaluates on validation.

    Args:
        spec: the run.
        model: the model with its adapter, on the device to train on.
        data: the encoded splits, from the task's `encode`.
        tokenizer: the backbone's tokenizer.
        task: the task, which computes the scores (see `sparsead.tasks.contract`).
        collator: makes batches of examples.
        folder: the run's folder, for checkpoints and predictions.
        precision: "fp32" or "bf16".
    """
    trainer = SparseadTrainer(
        model=model,
        args=_arguments(spec, folder, model.device.type, precision),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        processing_class=tokenizer,
        data_collator=collator,
        preprocess_logits_for_metrics=_logits,
    )
    trainer.scorer_of = lambda rows, split: build_scorer(
        task, rows, unfinished_predictions(folder, split)
    )
    trainer.higher_is_better = partial(higher_is_better, task)
    if spec.protocol.evaluations is not None:
        trainer.add_callback(WithinEpochs(trainer.evaluate, spec.protocol.evaluations_per_epoch))
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer


def history(trainer: SparseadTrainer) -> list[dict[str, Any]]:
    """Return for each evaluation the scores, the validation loss and whether it had collapsed.

    `epoch` says when it was, `train_loss` is the mean over the steps since the one before, and
    `collapsed` says that all predictions were the same.
    """
    epochs: dict[float, dict[str, Any]] = {}
    for entry in trainer.state.log_history:
        row = epochs.setdefault(entry["epoch"], {"epoch": entry["epoch"]})
        if "loss" in entry:
            row["train_loss"] = entry["loss"]
        if "eval_loss" in entry:
            row |= {"validation_loss": entry["eval_loss"], "scores": _scores(entry)}
            row |= {COLLAPSED: True} if entry.get(f"eval_{COLLAPSED}") else {}
    return list(epochs.values())


def _checkpointing(protocol: ProtocolSpec) -> dict[str, Any]:
    return {_CHECKPOINTING: True} if protocol.gradient_checkpointing else {}


def _arguments(spec: RunSpec, folder: Path, device: str, precision: str) -> TrainingArguments:
    protocol = spec.protocol
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=protocol.epochs,
        per_device_train_batch_size=protocol.batch_size,
        per_device_eval_batch_size=protocol.eval_batch_size,
        learning_rate=protocol.learning_rate,
        weight_decay=protocol.weight_decay,
        adam_beta1=protocol.betas[0],
        adam_beta2=protocol.betas[1],
        max_grad_norm=protocol.max_grad_norm,
        warmup_steps=protocol.warmup,  # below 1: a share of the steps
        lr_scheduler_type="linear",
        eval_strategy="epoch",
        logging_strategy="epoch",
        logging_nan_inf_filter=False,  # it would wait for the GPU in every step
        save_strategy="epoch",
        report_to=[],
        disable_tqdm=True,
        seed=spec.seeds.data,
        use_cpu=device == "cpu",
        bf16=precision == "bf16",
        **_checkpointing(protocol),
        dataloader_pin_memory=device == "cuda",
        accelerator_config={"non_blocking": device == "cuda"},
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # on several GPUs the Trainer would multiply the batch size
    return arguments


def _logits(outputs: Any, labels: Any) -> Any:
    """Return one tensor of logits for each label, without other outputs such as hidden states."""
    if not isinstance(outputs, tuple):
        return outputs
    return outputs[: len(labels)] if isinstance(labels, tuple) else outputs[0]


def _scores(entry: Mapping[str, float]) -> dict[str, float]:
    scores = {key.removeprefix("eval_"): value for key, value in entry.items() if "eval_" in key}
    return {name: value for name, value in scores.items() if name not in _NOT_SCORES}


_NOT_SCORES = (
    COLLAPSED,
    "loss",
    "runtime",
    "samples_per_second",
    "steps_per_second",
    "model_preparation_time",
)
