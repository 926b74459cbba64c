"""What a finished run is shown as: scores with their interval, where it is, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sparsead.config.quoting import outputs_option
from sparsead.config.run import RunSpec
from sparsead.errors import RecordError
from sparsead.report.signed import format_score
from sparsead.report.statistics import FEWEST_EXAMPLES, find_fault
from sparsead.runs.listing import flatten_config, shorten_name
from sparsead.runs.record import RunRecord

if TYPE_CHECKING:
    from sparsead.report.resampling import Array

_ENDS = (2.5, 97.5)
_MOST_EXAMPLES = 20_000
"""Of more examples no interval is computed here: drawing the resamples would take seconds."""
_CORPUS_METRICS = ("bleu", "chrf")
"""Metrics that take long to compute on thousands of resamples."""


class Interval(NamedTuple):
    """The middle 95 % of a score on resampled examples, in percent, and the examples."""

    low: float
    high: float
    examples: int
    split: str


def describe_setting(spec: RunSpec) -> str:
    """Return a line that says what a run trains."""
    bottleneck = spec.adapter.options.get("bottleneck")
    size = "" if bottleneck is None else f" with r={bottleneck}"
    control = "" if spec.pruner.control == "none" else f" ({spec.pruner.control})"
    pruned = f"{100 * spec.sparsity:.4g} % removed by {spec.pruner.name}{control}"
    what = pruned if spec.sparsity else "dense"
    if spec.adapter.chooses:
        trained, budget = 100 * (1 - spec.sparsity), spec.adapter.options["budget"]
        size = f", which trains {trained:.4g} % of its budget of {budget}"
        chosen_by = "the start" if spec.adapter.start else f"{spec.pruner.name}{control}"
        what = f"chosen by {chosen_by}"
    return (
        f"{spec.adapter.name}{size}, {what}, on {spec.backbone.name}; "
        f"task {spec.task.name}, seed {spec.seeds}"
    )


def describe_outcome(record: RunRecord) -> list[str]:
    """Return the lines that end a run; the last ones are commands that one may want next."""
    first, *others = _next(record)
    return [
        describe_scores(record),
        *_describe_interval(record),
        *_remarks(record),
        _describe_masks(record),
        str(record.folder),
        f"next: {first}",
        *(f"      {command}" for command in others),
    ]


def _describe_masks(record: RunRecord) -> str:
    """Say how many weights were removed or, of an adapter with a budget, which ones trained."""
    sparsity = record.result["sparsity"]
    removed, total = sparsity["removed"], sparsity["total"]
    if chose_weights(record):
        share = 100 * (1 - sparsity["realised"])
        return f"trained {total - removed:,} of {total:,} weights of the backbone ({share:.3g} %)"
    return f"removed {removed:,} of {total:,} prunable weights ({100 * sparsity['realised']:.2f} %)"


def chose_weights(record: RunRecord) -> bool:
    """Return whether weights of the backbone were chosen to train, instead of removing some."""
    return record.result["config"]["adapter"]["options"].get("budget") is not None


def describe_scores(record: RunRecord) -> str:
    """Return a run's scores in percent, as tables have them."""
    return ", ".join(
        f"{name} not defined" if score is None else f"{name} {format_score(100 * score)}"
        for name, score in record.result["scores"].items()
    )


def outcome_values(record: RunRecord) -> dict[str, Any]:
    """Return a finished run as plain values; its scores are in percent, as in tables."""
    scores = record.result["scores"]
    interval = score_interval(record)
    return {
        "run": record.folder.name,
        "folder": str(record.folder),
        "config": flatten_config(record.result["config"]),
        "scores": {n: None if score is None else 100 * score for n, score in scores.items()},
        "interval": None if interval is None else [interval.low, interval.high],
        "collapsed": bool(record.result.get("collapsed")),
        "sparsity": 100 * record.result["sparsity"]["realised"],
        "seconds": sum(record.result["seconds"].values()),
    }


def score_interval(record: RunRecord) -> Interval | None:
    """Return the 95 % bootstrap interval of the main score over the evaluated examples.

    Efron and Tibshirani's percentile interval: between which ends the middle 95 % of the scores on
    resampled examples lie. It does not account for other seeds.

    Returns:
        The interval; None where the run keeps no predictions that give the recorded score, on
        fewer than `FEWEST_EXAMPLES`, where it would contain the true score too seldom, and where
        no resample has another score: that every example is right here does not show that all are.
    """
    import numpy as np

    found = _resample_score(record)
    if found is None or find_fault(found.scores):
        return None
    low, high = np.percentile(found.scores, _ENDS)
    return Interval(float(low), float(high), found.examples, found.split)


class _Resampled(NamedTuple):
    """A run's main score on resamples of the evaluated examples, in percent."""

    scores: Array
    examples: int
    split: str


def _resample_score(record: RunRecord) -> _Resampled | None:
    from sparsead.report.resampling import draw_resamples
    from sparsead.report.rescoring import rescore
    from sparsead.runs.predictions import read_predictions

    described = record.result.get("predictions")
    if not described:
        return None
    metric, split = next(iter(record.result["scores"])), next(iter(described))
    examples = described[split]["examples"]
    if not FEWEST_EXAMPLES <= examples <= _MOST_EXAMPLES or metric in _CORPUS_METRICS:
        return None
    try:
        frame = read_predictions(record, split)
        counts = draw_resamples(record.result["config"]["task"]["name"], examples)
        scores = rescore(record, split, metric, frame, counts)
    except RecordError:  # the predictions are unusable, or the metric is the user's own
        return None
    return _Resampled(100 * scores, examples, split)


def _describe_interval(record: RunRecord) -> Sequence[str]:
    metric = next(iter(record.result["scores"]))
    interval = score_interval(record)
    if interval is not None:
        return [
            f"95 % interval of {metric}: {interval.low:z.1f} to {interval.high:z.1f}, over the "
            f"{interval.examples} examples of {interval.split}"
        ]
    found = _resample_score(record)
    return [] if found is None else [f"no interval of {metric}: it is {find_fault(found.scores)}"]


def _remarks(record: RunRecord) -> Sequence[str]:
    if next(iter(record.result["scores"].values())) is None:
        return [
            "the main score is not defined; if the loss is not finite either, the training "
            "diverged: try a lower protocol.learning_rate"
        ]
    if not record.result.get("collapsed"):
        return []
    return [
        "all predictions are the same: the model tells no examples apart; train for more epochs, "
        "on more examples, or with another protocol.learning_rate"
    ]


def _next(record: RunRecord) -> list[str]:
    """Return commands that one may want next; with the folder of the runs, if it is not usual."""
    outputs = record.folder.parent.parent
    where = outputs_option(outputs)
    run = shorten_name(record.folder.name)
    dense = "sparsead train … pruner=none sparsity=0   (the dense one, to compare)"
    pruned = bool(record.result["sparsity"]["removed"]) and not chose_weights(record)
    return [
        f"sparsead show {run}{where}",
        f"sparsead table{where}",
        *([dense] if pruned else []),
    ]
