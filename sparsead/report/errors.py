"""A run's errors as text: the examples that it predicted wrongly, the worst first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsead.errors import RecordError
from sparsead.report.formats import pluralize, to_rich
from sparsead.report.masks import summarize_run
from sparsead.runs.predictions import list_predicted_splits, read_predictions
from sparsead.runs.record import RunRecord

if TYPE_CHECKING:
    from pandas import DataFrame

_SHARE = "probabilities."
_WIDTH = 60
_TRUTHS = ("reference", "references")


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
    elif frame["prediction"].dtype.kind in "fiu":
        text = _list_numbers(frame, count)
    else:
        text = _list_classes(frame, count)
    return f"{summarize_run(record)}{name}: {text}"


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
    said = f"mean absolute error {error.abs().mean():.4f} of {pluralize(len(frame), 'example')}"
    return f"{said}\n{_table(shown, ['id', 'label', 'prediction', 'error'], count)}"


def _list_scored(frame: DataFrame, metric: str, count: int, *, lowest_first: bool) -> str:
    shown = frame.sort_values(metric, ascending=lowest_first, kind="stable")
    columns = ["id", *(name for name in _TRUTHS if name in frame), "prediction", metric]
    said = f"mean {metric} {frame[metric].mean():.4f} of {pluralize(len(frame), 'example')}"
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
