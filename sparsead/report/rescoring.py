"""A run's scores on resampled examples, where its predictions give the score that it recorded."""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING

import numpy as np

from sparsead.errors import RecordError
from sparsead.report.resampling import Array, score_resamples
from sparsead.runs.predictions import list_predicted_splits
from sparsead.runs.record import RunRecord

if TYPE_CHECKING:
    from pandas import DataFrame

_EQUAL = 1e-5  # predictions are stored as 32-bit numbers


def rescore(record: RunRecord, split: str, metric: str, frame: DataFrame, counts: Array) -> Array:
    """Return a run's score on each resample of the examples of a split, as a share.

    A metric or a task of the user's own may call its score like one of the project's metrics, such
    as `f1`. So the score is first computed on the examples themselves, and must be the recorded
    one.

    Args:
        record: the run.
        split: the split of the predictions.
        metric: name of the score, without the split.
        frame: the predictions on the split, as `read_predictions` returns them.
        counts: of shape (resamples, examples).

    Raises:
        RecordError: the metric cannot be computed from the predictions, or does not give the
            recorded score.
    """
    recorded = recorded_score(record, split, metric)
    task = record.result["config"]["task"]
    words = task.get("options", {}).get("scoring_tokenizers", {}).get("bleu", "13a")
    try:
        (again,) = score_resamples(frame, metric, np.ones((1, len(frame))), words)
        if not isclose(again, recorded, rel_tol=_EQUAL, abs_tol=_EQUAL):
            raise RecordError(
                f"{record.folder}: its predictions give {metric} {again:.6g}, not the "
                f"recorded {recorded:.6g}"
            )
        return score_resamples(frame, metric, counts, words)
    except (LookupError, TypeError, ValueError) as error:
        reason = f"{metric} cannot be computed from its predictions ({error})"
        raise RecordError(f"{record.folder}: {reason}") from error


def recorded_score(record: RunRecord, split: str, metric: str) -> float:
    """Return a recorded score of a split, as a share.

    Raises:
        RecordError: the run records no such score, or the score is not defined.
    """
    name = metric if split == list_predicted_splits(record)[0] else f"{split}_{metric}"
    scores = dict(record.result["scores"])
    if record.holds_out:  # the held-out part of train is called validation
        scores |= {f"validation_{key}": score for key, score in record.result["selection"].items()}
    if name not in scores:
        raise RecordError(f"{record.folder}: records no {metric} of {split}")
    if scores[name] is None:
        raise RecordError(f"{record.folder}: its {metric} of {split} is not defined")
    return float(scores[name])
