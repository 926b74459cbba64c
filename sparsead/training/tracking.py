"""Trackers: TensorBoard, MLflow, Weights & Biases and Trackio, through the Trainer's callbacks.

Each tracked run has the name of the run's record. The callback logs the losses and scores while the
run trains; before that the configuration and each tensor's sparsity are logged, and after it the
final scores. A run that resumes goes on in the same tracked run, which is found by the name or by
the run's identity.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from transformers import Trainer
from transformers.integrations.integration_utils import (
    MLflowCallback,
    TensorBoardCallback,
    TrackioCallback,
    WandbCallback,
)

from sparsead.config.schema import list_leaves
from sparsead.config.tracking import TrackingSpec
from sparsead.runs.request import RunRequest
from sparsead.training.processes import is_main

IDENTITY_TAG = "sparsead.identity"
"""Tag of an MLflow run by which a run that resumes finds it."""
_MOST_PARAMETERS = "MLFLOW_MAX_LOG_PARAMS"


class Tracker(Protocol):
    """One tracked run."""

    def attach(self, trainer: Trainer) -> None:
        """Give one of transformers' callbacks to the Trainer."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by name."""

    def finish(self, *, whole: bool) -> None:
        """End the tracked run; if it is not whole, a run that resumes goes on in it."""


@contextmanager
def tracked(request: RunRequest, resumed_step: int) -> Iterator[Tracker]:
    """Track a run while it trains; only one of several processes does.

    Args:
        request: the run.
        resumed_step: the step from which it resumes; 0 if it starts from the beginning.
    """
    chosen = request.tracking if is_main() else TrackingSpec("none")
    tracker = _TRACKERS[chosen.name](request, chosen, resumed_step)
    try:
        yield tracker
    except BaseException:
        tracker.finish(whole=False)
        raise
    tracker.finish(whole=True)


def describe_result(
    scores: Mapping[str, float | None], sparsity: Mapping[str, Any]
) -> dict[str, float]:
    """Return a run's final scores and the share that is removed, of all and of each tensor.

    Args:
        scores: the final scores by name; those that are not defined are left out.
        sparsity: the summary of the run's masks.
    """
    removed = {
        f"sparsity/{name}": counts["removed"] / counts["total"]
        for name, counts in sparsity["by_tensor"].items()
    }
    final = {f"final/{name}": score for name, score in scores.items() if score is not None}
    return {**final, "sparsity/all": sparsity["realised"], **removed}


class _Untracked:
    def __init__(self, request: RunRequest, chosen: TrackingSpec, resumed_step: int) -> None:
        pass

    def attach(self, trainer: Trainer) -> None:
        pass

    def log(self, values: Mapping[str, float], step: int) -> None:
        pass

    def finish(self, *, whole: bool) -> None:
        pass


class _TensorBoard:
    def __init__(self, request: RunRequest, chosen: TrackingSpec, resumed_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = Path(str(chosen.folder)) / request.folder.name
        # Steps that an interrupted process logged after its checkpoint are not shown twice.
        first = resumed_step + 1 if resumed_step else 0
        writer = SummaryWriter(str(self._folder), purge_step=first)
        config = "\n".join(f"    {key}: {value}" for key, value in _flatten(request).items())
        writer.add_text("configuration", config)
        self._writer: Callable[[], Any] = lambda: SummaryWriter(str(self._folder))
        self._callback = TensorBoardCallback(writer)
        self._callback.logging_dir = str(self._folder)  # it logs again after the training has ended

    def attach(self, trainer: Trainer) -> None:
        trainer.add_callback(self._callback)

    def log(self, values: Mapping[str, float], step: int) -> None:
        with self._writer() as writer:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

    def finish(self, *, whole: bool) -> None:
        if self._callback.tb_writer is not None:
            self._callback.tb_writer.close()


class _Curves(MLflowCallback):
    """MLflow's callback without transformers' own parameters.

    They differ in a run that resumes, and MLflow refuses a parameter that changes.
    """

    def setup(self, *arguments: Any) -> None:
        before = os.environ.get(_MOST_PARAMETERS)
        os.environ[_MOST_PARAMETERS] = "0"
        try:
            super().setup(*arguments)  # type: ignore[no-untyped-call]
        finally:
            del os.environ[_MOST_PARAMETERS]
            os.environ.update({} if before is None else {_MOST_PARAMETERS: before})


class _MLflow:
    def __init__(self, request: RunRequest, chosen: TrackingSpec, resumed_step: int) -> None:
        import mlflow

        self._mlflow = mlflow
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of its own database
        mlflow.set_tracking_uri(str(chosen.folder))
        mlflow.set_experiment(chosen.project)
        found = self._find(request.identity) if resumed_step else None
        mlflow.start_run(run_id=found, run_name=None if found else request.folder.name)
        tags = {IDENTITY_TAG: request.identity, "sparsead.setting": request.setting}
        mlflow.set_tags(tags | ({"sparsead.group": chosen.group} if chosen.group else {}))
        if found is None:
            mlflow.log_params({f"config.{key}": value for key, value in _flatten(request).items()})

    def attach(self, trainer: Trainer) -> None:
        trainer.add_callback(_Curves)  # it logs into the run that is active

    def _find(self, identity: str) -> str | None:
        by_tag = f"tags.`{IDENTITY_TAG}` = '{identity}'"
        found = self._mlflow.search_runs(
            filter_string=by_tag, order_by=["start_time DESC"], max_results=1, output_format="list"
        )
        return found[0].info.run_id if found else None

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def finish(self, *, whole: bool) -> None:
        self._mlflow.end_run("FINISHED" if whole else "KILLED")


class _Wandb:
    def __init__(self, request: RunRequest, chosen: TrackingSpec, resumed_step: int) -> None:
        import wandb

        self._wandb = wandb
        wandb.init(
            project=chosen.project,
            name=request.folder.name,
            id=request.identity,
            resume="allow" if resumed_step else None,
            group=chosen.group,
            dir=chosen.folder,
            config={"sparsead": request.spec.to_dict()},
        )

    def attach(self, trainer: Trainer) -> None:
        trainer.add_callback(WandbCallback)  # it logs into the run that is active

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._wandb.log({**values, "train/global_step": step})

    def finish(self, *, whole: bool) -> None:
        self._wandb.finish(exit_code=int(not whole))


class _Trackio:
    def __init__(self, request: RunRequest, chosen: TrackingSpec, resumed_step: int) -> None:
        import trackio

        self._trackio = trackio
        self._name, self._project = request.folder.name, chosen.project
        self._start: Callable[[str], Any] = lambda resume: trackio.init(
            project=chosen.project,
            name=request.folder.name,
            group=chosen.group,
            resume=resume,
            config={"sparsead": request.spec.to_dict()},
        )
        self._start("allow" if resumed_step else "never")

    def attach(self, trainer: Trainer) -> None:
        # The callback opens the run of this project and name, and ends it with the training.
        trainer.args.project, trainer.args.run_name = self._project, self._name
        trainer.add_callback(TrackioCallback)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._start("allow")
        self._trackio.log(dict(values), step=step)

    def finish(self, *, whole: bool) -> None:
        with suppress(RuntimeError):  # none is open: the training was stopped by an error
            self._trackio.finish()


_TRACKERS: Mapping[str, Callable[[RunRequest, TrackingSpec, int], Tracker]] = {
    "none": _Untracked,
    "tensorboard": _TensorBoard,
    "mlflow": _MLflow,
    "wandb": _Wandb,
    "trackio": _Trackio,
}


def _flatten(request: RunRequest) -> dict[str, Any]:
    return dict(list_leaves("", request.spec.to_dict()))
