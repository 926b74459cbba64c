"""transformers' Trainer with the protocol's optimiser and a batch order fixed by the seed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping
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
)
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import SAFE_WEIGHTS_NAME

from sparsead.adapters.contract import sum_regularisers
from sparsead.backbones.heads import gives_next_token
from sparsead.config.run import RunSpec
from sparsead.pruning.examples import count_terms
from sparsead.runs.staging import check_owned
from sparsead.tasks.contract import Collator, Task
from sparsead.training.arguments import training_arguments
from sparsead.training.clock import Clock
from sparsead.training.evaluation import (
    WithinEpochs,
    collate_batches,
    count_tokens,
    padded_columns,
    restore_order,
    token_batches,
    unwrap_batch,
)
from sparsead.training.history import best_epoch_end, epoch_ends, scores_of
from sparsead.training.loss import Criterion, build_criterion
from sparsead.training.optimizer import explained_schedule, find_decayed, find_rates, set_rates
from sparsead.training.prediction import (
    Scorer,
    build_scorer,
    higher_is_better,
    unfinished_predictions,
)
from sparsead.training.processes import average
from sparsead.training.resume import check_weights, readable, seal_checkpoint
from sparsead.training.sampling import SeededOrder

log = logging.getLogger(__name__)


class SparseadTrainer(Trainer):
    """A Trainer whose batches come in the order of `SeededOrder`.

    It evaluates and predicts in batches of similar length; those of the validation split are built
    once. `scorer_of` returns the scorer for an encoded split and its name; `higher_is_better` tells
    the direction of the metric of that name. `criterion` is the trained loss where it is not the
    model's own, and `rates` are the learning rates of the parameters where they differ. With
    `keeps_best`, the checkpoint of the best epoch is kept beside the newest ones.
    """

    scorer_of: Callable[[Dataset, str], Scorer | None]
    higher_is_better: Callable[[str], bool]
    criterion: Criterion | None = None
    rates: Mapping[str, float] | None = None
    keeps_best = False
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
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, Clock):
                callback.begin_evaluation()
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
        if output.metrics and name in output.metrics:
            total = average(sum(float(loss) * terms for loss, terms in self._losses))
            output.metrics[name] = total / average(sum(terms for _, terms in self._losses))
        return output

    def prediction_step(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Run one evaluation step, and store its loss and the number of terms in it."""
        loss, logits, labels = super().prediction_step(model, inputs, *args, **kwargs)
        if loss is not None:
            self._losses.append((loss, count_terms(inputs)))
        return loss, logits, labels

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a batch; in training that of `criterion`, and its share of a step.

        If a step has several batches, accumulated or in several processes, each has a weight by
        the number of its terms of the loss, as if all were one batch.
        """
        if not model.training or (self.criterion is None and not self._adds_batches):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self.criterion is not None:
            loss = self.criterion(outputs["logits"], inputs["labels"]) + sum_regularisers(model)
        if self._adds_batches:  # the Trainer will divide by their number
            share = count_terms(inputs) / self._terms
            loss = loss * share * self.current_gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Return the batches of a step, and count the terms of their loss in each process."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        if self._adds_batches:
            self._terms = average(sum(count_terms(batch) for batch in batches))
        return batches, items

    @property
    def _adds_batches(self) -> bool:
        return self._shared_out or self.args.gradient_accumulation_steps > 1

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Return the optimiser, whose parameters have the learning rates `rates`."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if is_new and self.rates is not None:
            set_rates(optimizer, cast(nn.Module, self.model), self.rates)
        return optimizer

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Return the names of the parameters with weight decay."""
        return find_decayed(model, super().get_decay_parameter_names)

    def create_scheduler(self, *args: Any, **kwargs: Any) -> Any:
        """Return the schedule of the learning rates."""
        with explained_schedule(self.args):
            return super().create_scheduler(*args, **kwargs)

    def _determine_best_metric(self, *_args: Any, **_kwargs: Any) -> bool:
        """Return False: no state of the Trainer's own says which epoch was the best."""
        return False

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: nothing uses the count, and it would visit all parameters in every step."""
        return 0

    @property
    def _shared_out(self) -> bool:
        """Whether several processes share each step and evaluation, in batches of equal size."""
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
        whole = self.args.train_batch_size * self.args.world_size  # of all processes together
        return SeededOrder(count_tokens(data), whole, self.args.seed)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint and its checksums, if this process still owns the run."""
        folder = Path(str(self.args.output_dir))
        if self.args.should_save:
            check_owned(folder)
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # each process writes the state of its generators
        if self.args.should_save:
            best = best_epoch_end(self).step if self.keeps_best and epoch_ends(self) else None
            seal_checkpoint(folder, self.state.global_step, best)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with readable(resume_from_checkpoint):
            own = cast(nn.Module, self.model if model is None else model)
            check_weights(resume_from_checkpoint, own)
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
            shown = {name: f"{100 * value:z.2f}" for name, value in scores_of(logs).items()}
            shown = shown or {"loss": f"{logs['eval_loss']:.4f}"}
            line = ", ".join(f"{name} {value}" for name, value in shown.items())
            log.info("epoch %g: %s", logs["epoch"], line)

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
    head: Collection[str] = (),
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
        head: names of the head's parameters.

    Raises:
        ConfigError: an option of the protocol cannot apply to this training.
    """
    protocol = spec.protocol
    trainer = SparseadTrainer(
        model=model,
        args=training_arguments(spec, folder, model.device.type, precision, len(data["train"])),
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
    trainer.criterion = build_criterion(
        protocol,
        data["train"],
        int(model.config.num_labels or 0),
        of_next_token=gives_next_token(type(model)),
    )
    alone = protocol.gradient_accumulation == 1 and trainer.args.world_size == 1
    if trainer.criterion is not None or not (gives_next_token(type(model)) and alone):
        # Else the Trainer expects the model to divide by the terms of all batches of a step, and
        # multiplies all of the loss by their number, what regularises the weights included.
        trainer.model_accepts_loss_kwargs = False
    if protocol.head_learning_rate is not None or protocol.layer_decay != 1:
        trainer.rates = find_rates(protocol, model, head)
    trainer.keeps_best = protocol.patience is not None
    if protocol.evaluations is not None:
        trainer.add_callback(WithinEpochs(trainer.evaluate, protocol, len(data["train"])))
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer


def _logits(outputs: Any, labels: Any) -> Any:
    """Return one tensor of logits for each label, without other outputs such as hidden states."""
    if not isinstance(outputs, tuple):
        return outputs
    return outputs[: len(labels)] if isinstance(labels, tuple) else outputs[0]
