"""A run's errors as text: the examples that it predicted wrongly, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sparsead.errors import RecordError
from sparsead.errors.display import pluralize
from sparsead.report.formats import to_rich
from sparsead.report.masks import summarize_run
from sparsead.report.pair_of_runs import examples_interval, mcnemar_p
from sparsead.report.resampling import draw_resamples
from sparsead.report.rescoring import recorded_score, rescore
from sparsead.report.screen import wrap
from sparsead.report.signed import format_interval, format_signed
from sparsead.report.statistics import FEWEST_EXAMPLES, find_fault
from sparsead.runs.predictions import list_predicted_splits, read_predictions
from sparsead.runs.record import RunRecord

if TYPE_CHECKING:
    from pandas import DataFrame

_SHARE = "probabilities."
_WIDTH = 60
_TRUTHS = ("reference", "references")


class _Predicted(NamedTuple):
    """A run and its predictions on a split."""

    record: RunRecord
    frame: DataFrame


def summarize_errors(record: RunRecord, split: str | None = None, count: int = 20) -> str:
    """Return a text on a run's errors: how many there are, and the worst of them.

    Of wrong classes the most confident come first, of numbers those furthest from the true one, of
    answers and texts those with the lowest score.

    Args:
        record: the run.
        split: the split of the predictions; None for the split of the run's scores.
        count: number of errors to list.

    Raises:
        RecordError: the run's result or predictions cannot be read, or do not tell what is wrong.
    """
    frame = read_predictions(record, split)
    name = list_predicted_splits(record)[0] if split is None else split
    metric = next(iter(record.result["scores"]))
    if metric in frame:
        lowest_first = record.higher_is_better
        text = _list_scored(frame, metric, count, lowest_first=lowest_first)
    elif "label" not in frame:
        raise RecordError(
            f"{record.folder}: its predictions have neither a column label nor a column {metric}, "
            "so that nothing tells which are wrong"
        )
    elif _are_numbers(frame):
        text = _list_numbers(frame, count)
    else:
        text = _list_classes(frame, count)
    return f"{summarize_run(record)}{name}: {text}"


def compare_errors(
    record: RunRecord, other: RunRecord, split: str | None = None, count: int = 20
) -> str:
    """Return a text on the errors of two runs on the same examples.

    It has the difference of their main scores, on enough examples with a 95 % interval; for
    classes how often one, both or none is right, with McNemar's test; and the examples on which the
    first run is worse than the second.

    Args:
        record: the first run.
        other: the second run.
        split: the split of the predictions; None for the split of the first run's scores.
        count: number of examples to list.

    Raises:
        RecordError: a run's predictions cannot be read, or are on other examples.
    """
    name = list_predicted_splits(record)[0] if split is None else split
    one, two = (read_predictions(run, name, without=["n_best"]) for run in (record, other))
    if not _are_of_same_examples(one, two):
        pair = f"{record.folder.name} and {other.folder.name}"
        raise RecordError(f"{pair}: were not evaluated on the same examples of {name}")
    metric = next(iter(record.result["scores"]))
    worse = _measure_loss(one, two, metric, 1 if record.higher_is_better else -1)
    shown = one.assign(**{"other prediction": two["prediction"], "worse by": worse})
    shown = shown[worse > 0].sort_values("worse by", ascending=False, kind="stable")
    truths = [column for column in ("label", *_TRUTHS) if column in one]
    columns = ["id", *truths, "prediction", "other prediction", "worse by"]
    listed = f"{pluralize(len(shown), 'example')} on which the first run is worse\n"
    pairs = _Predicted(record, one), _Predicted(other, two)
    is_of_classes = metric not in one and not _are_numbers(one)
    return (
        f"\nAgainst {summarize_run(other)}{_describe_difference(pairs, name, metric)}"
        f"{_describe_pairs(one, two) if is_of_classes else ''}"
        f"{listed}{_table(shown, columns, count)}"
    )


def _are_of_same_examples(one: DataFrame, two: DataFrame) -> bool:
    truths = [name for name in ("id", "label", *_TRUTHS) if name in one]
    return set(truths) <= set(two) and all(
        one[name].map(str).equals(two[name].map(str)) for name in truths
    )


def _measure_loss(one: DataFrame, two: DataFrame, metric: str, direction: int) -> Any:
    """Return by how much the first run is worse than the second, for each example."""
    if metric in one and metric in two:
        return direction * (two[metric] - one[metric])
    if "label" not in one:
        raise RecordError(f"the predictions have neither a column label nor a column {metric}")
    if _are_numbers(one):
        return (one["prediction"] - one["label"]).abs() - (two["prediction"] - two["label"]).abs()
    right, other_right = (run["prediction"] == run["label"] for run in (one, two))
    return other_right.astype(float) - right.astype(float)


def _describe_difference(runs: Sequence[_Predicted], split: str, metric: str) -> str:
    """Return the difference of the runs' recorded scores, in points, or why there is none."""
    try:
        one, other = (100 * recorded_score(record, split, metric) for record, _ in runs)
    except RecordError as error:
        return _wrap(f"{metric}: no difference ({error})")
    difference = one - other
    said = f"{metric}: {format_signed(difference)} points from the other run"
    examples = len(runs[0].frame)
    if examples < FEWEST_EXAMPLES:
        return f"{said}\n"
    counts = draw_resamples("errors", examples)
    try:
        first, second = (rescore(run, split, metric, frame, counts) for run, frame in runs)
    except RecordError as error:
        return _wrap(f"{said} (no interval: {error})")
    resampled = 100 * (first - second)
    interval = examples_interval(difference, resampled)
    if interval is None:
        return _wrap(f"{said} (no interval: the difference is {find_fault(resampled)})")
    return _wrap(
        f"{metric}: {format_signed(difference)} {format_interval(interval)} points from the "
        "other run (95 %; accounts for the choice of the examples, not for other seeds)"
    )


def _wrap(text: str) -> str:
    return "".join(f"{line}\n" for line in wrap(text))


def _describe_pairs(one: DataFrame, two: DataFrame) -> str:
    right, other_right = (run["prediction"] == run["label"] for run in (one, two))
    only, other_only = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    both, none = int((right & other_right).sum()), int((~right & ~other_right).sum())
    return (
        f"both right {both}, only the first {only}, only the other {other_only}, both wrong "
        f"{none}; McNemar's exact test: p = {mcnemar_p(only, other_only):.3g}\n"
    )


def _are_numbers(frame: DataFrame) -> bool:
    """Tell whether the predictions are numbers; whole ones are numbers of classes."""
    return bool(frame["prediction"].dtype.kind == "f")


def _list_classes(frame: DataFrame, count: int) -> str:
    """List the wrong classes, after a table of true by predicted classes."""
    wrong = frame[frame["prediction"] != frame["label"]]
    said = f"{len(wrong)} of {pluralize(len(frame), 'example')} are wrong"
    classes = [name.removeprefix(_SHARE) for name in frame if str(name).startswith(_SHARE)]
    classes = classes or sorted({*frame["label"], *frame["prediction"]}, key=str)
    confused = frame.groupby(["label", "prediction"]).size()
    rows = [
        {"true class": true}
        | {f"predicted {guess}": int(confused.get((true, guess), 0)) for guess in classes}
        for true in classes
    ]
    table = to_rich(list(rows[0]), rows)
    shown = wrong.assign(
        **{
            "p of prediction": _shares(wrong, "prediction"),
            "p of label": _shares(wrong, "label"),
        }
    ).sort_values("p of prediction", ascending=False, kind="stable")
    columns = ["id", "label", "prediction", "p of prediction", "p of label"]
    return f"{said}\n{table}{_table(shown, columns, count)}"


def _shares(frame: DataFrame, column: str) -> list[float | None]:
    """Return, for each example, the probability of the class in a column."""
    return [
        None if f"{_SHARE}{name}" not in frame else float(frame.at[index, f"{_SHARE}{name}"])
        for index, name in frame[column].items()
    ]


def _list_numbers(frame: DataFrame, count: int) -> str:
    error = frame["prediction"] - frame["label"]
    shown = frame.assign(error=error)
    shown = shown.iloc[error.abs().argsort(kind="stable")[::-1]]
    mean = error.abs().mean(skipna=False)
    said = f"mean absolute error {mean:.4f} of {pluralize(len(frame), 'example')}"
    return f"{said}\n{_table(shown, ['id', 'label', 'prediction', 'error'], count)}"


def _list_scored(frame: DataFrame, metric: str, count: int, *, lowest_first: bool) -> str:
    shown = frame.sort_values(metric, ascending=lowest_first, kind="stable")
    columns = ["id", *(name for name in _TRUTHS if name in frame), "prediction", metric]
    mean = frame[metric].mean(skipna=False)
    said = f"mean {metric} {mean:.4f} of {pluralize(len(frame), 'example')}"
    return f"{said}\n{_table(shown, columns, count)}"


def _table(frame: DataFrame, columns: list[str], count: int) -> str:
    """Return the first rows as a table; says how many there are."""
    rows = [
        {name: _cell(value) for name, value in row.items()}
        for row in frame[columns].head(count).to_dict("records")
    ]
    more = f"The first {count} of {len(frame):,}, the worst first.\n" if len(frame) > count else ""
    return (to_rich(columns, rows) if rows else "") + more


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    text = value if isinstance(value, str) else " | ".join(map(str, value))
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
