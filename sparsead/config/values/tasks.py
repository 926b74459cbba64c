"""The values that options of tasks may have."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

from sparsead.config.schema import check_minimum
from sparsead.config.values.contract import Options
from sparsead.errors import ConfigError, unknown, unknown_key, wrong_type

SCORED_SPLITS = ("validation", "test")
"""The splits for which texts can be generated, besides further ones of the hub or a folder."""
QUESTION_COLUMNS = ("id", "question", "context", "answers")
"""What a data set of questions has in columns."""
TOKENIZERS: Mapping[str, tuple[str, ...]] = {
    "rouge": ("english", "unicode"),
    "bleu": ("13a", "intl", "zh", "char"),
}
"""By metric, what can split texts into words for it."""
DECIMAL_MARKS = ("point", "comma")
"""The names of what can stand before the decimals of a number."""
METRICS: Mapping[str, tuple[str, ...]] = {
    "classes": ("accuracy", "f1", "f1_macro", "matthews_correlation"),
    "numbers": ("pearson", "spearmanr", "mae", "mse"),
    "answers": ("f1", "exact_match"),
    "texts": ("exact_match", "number_match", "rouge1", "rouge2", "rougeL", "bleu", "chrf"),
}
"""By what a task predicts, the names of the project's metrics; a test compares them."""
CONSTANT_WITHIN = 1e-6
"""Predicted numbers count as all the same if they differ by at most this share of the largest one.

That is more than fp32 rounds. Their correlation is then 0, on all examples as on resampled ones.
"""
ONE_OF_TWO = (
    "name a file, or hold out a share of the training file with task.validation_share=0.1; "
    "one of the two"
)

NO_FILE: Mapping[str, str] = {
    "squad": (
        "task.train, task.validation: name a SQuAD JSON file for each, or a .jsonl or .parquet "
        "file, or a data set of the hub with task.hub=NAME"
    ),
    "text": (
        "task.train: name a CSV, TSV, JSONL or Parquet file, or a data set of the hub with "
        "task.hub=NAME"
    ),
    **dict.fromkeys(
        ("complete", "text_to_text"),
        "task.train, task.validation: name a .jsonl, .csv, .tsv or .parquet file for each, or a "
        "data set of the hub with task.hub=NAME",
    ),
}
"""By the method of a task, what to say where it has neither files nor a data set on the hub."""

COLUMNS_OF_RUNS = (
    *("run", "state", "backbone", "task", "adapter", "r", "pruner", "sparsity"),
    *("seed", "metric", "score", "seconds"),
)
"""The columns of every list of runs."""
_NO_METRICS = (*COLUMNS_OF_RUNS, "n", "collapsed", "points", "#param", "chosen on", "epoch")
"""Names of other columns of lists, tables and exported runs: no score may be called so."""
_LEAST = {"num_beams": 1, "max_new_tokens": 1, "min_new_tokens": 0, "no_repeat_ngram_size": 0}
_KINDS: dict[str, tuple[type, ...]] = {"length_penalty": (int, float), "early_stopping": (bool,)}
_GENERATION = (*_LEAST, *_KINDS)


def check_questions(options: Options) -> None:
    """Check the lengths of questions and answers, and the number of answers."""
    for key in ("question_length", "answer_length", "n_best"):
        check_minimum(f"task.{key}", options[key], 1)
    check_minimum("task.stride", options["stride"], 0)


def check_metrics(names: Sequence[str], choices: Collection[str]) -> None:
    """Check the names of a task's metrics, but not yet that the user's own can be imported.

    Args:
        names: names and dotted paths.
        choices: the names of the project's metrics for what the task predicts.
    """
    if not names:
        raise ConfigError(f"task.metrics=[]: name one of {', '.join(sorted(choices))}")
    for name in names:
        if "." not in name and name not in choices:
            raise ConfigError(unknown("task.metrics", name, choices))
        check_score_name("task.metrics", score_name(name))
        if "." in name and score_name(name) in choices:
            raise ConfigError(
                f"task.metrics={name}: {score_name(name)} is a metric of the project; give yours "
                "another name"
            )
    if len({score_name(name) for name in names}) < len(names):
        raise ConfigError(f"task.metrics={list(names)}: two of them have the same name")


def check_score_name(key: str, name: str) -> None:
    """Refuse the name of a score that could not be told from another column, or be printed.

    Raises:
        ConfigError: the message begins with `key`.
    """
    if not isinstance(name, str) or not name.isprintable():
        raise ConfigError(f"{key}: {name!r} is not the name of a metric")
    if name in _NO_METRICS:
        raise ConfigError(f"{key}: {name!r} is a column of every table; no metric can be called so")


def score_name(metric: str) -> str:
    """Return the name of a metric's score: of a dotted path, its last part."""
    return metric.rpartition(".")[2]


def check_sentence_metrics(options: Options) -> None:
    """Check the metrics of sentences and pairs."""
    check_metrics(options["metrics"], METRICS["numbers" if options["regression"] else "classes"])


def check_own_metrics(options: Options) -> None:
    """Check the metrics of a user's own sentences and pairs; none are the usual ones."""
    if options["metrics"]:
        check_sentence_metrics(options)


def check_answer_metrics(options: Options) -> None:
    """Check the metrics of answers."""
    check_metrics(options["metrics"], METRICS["answers"])


def check_text_metrics(options: Options) -> None:
    """Check the metrics of generated texts."""
    check_metrics(options["metrics"], METRICS["texts"])


def check_text_columns(options: Options) -> None:
    """Check the columns of a user's own sentences or pairs."""
    inputs, label = options["inputs"], options["label"]
    if not isinstance(inputs, list | tuple) or not all(isinstance(each, str) for each in inputs):
        raise ConfigError(wrong_type("task.inputs", inputs, "collections.abc.Sequence[str]"))
    if len(inputs) not in (1, 2):
        raise ConfigError("task.inputs: name one or two columns of text, as task.inputs=[a,b]")
    twice = [column for column in inputs if [*inputs, label].count(column) > 1]
    if twice:
        raise ConfigError(
            f"task.inputs=[{','.join(inputs)}], task.label={label}: names the column "
            f"{twice[0]} twice"
        )


def check_share(options: Options) -> None:
    """Check the share of a training file that is held out."""
    share = options["validation_share"]
    if share is not None and not 0 < share < 1:
        raise ConfigError(f"task.validation_share={share:g}: must be above 0 and below 1")


def check_text_labels(options: Options) -> None:
    """Check the names of the classes of a user's own sentences or pairs."""
    _check_class_names(options["labels"])
    if options["regression"] and options["labels"]:
        raise ConfigError("task.labels: task.regression=true predicts numbers, not labels")


_NO_TEXTS = {"label", "idx"}
"""Columns of sentences and pairs that are not texts."""


def _check_class_names(labels: Sequence[object]) -> None:
    for label in labels:
        number = isinstance(label, int | float) and math.isfinite(label)
        if not (number or (isinstance(label, str) and label.strip())):
            raise ConfigError(f"task.labels: {label!r} is not the name of a class")


def check_fixed_inputs(options: Options) -> None:
    """Check the columns and classes of sentences or pairs whose data has columns of its own."""
    inputs, written = options["inputs"], options.get("tsv_labels", ())
    if not isinstance(inputs, list | tuple) or len(inputs) not in (1, 2):
        raise ConfigError(f"task.inputs={inputs}: name one or two columns of text")
    if len({*map(str, inputs)}) < len(inputs):
        raise ConfigError(f"task.inputs={list(inputs)}: names a column twice")
    texts = {*options.get("tsv_columns", ())} - _NO_TEXTS  # other data is checked when it is loaded
    for column in inputs:
        if texts and column not in texts:
            raise ConfigError(unknown("task.inputs", column, texts))
        if column in _NO_TEXTS:
            raise ConfigError(f"task.inputs={list(inputs)}: {column} is no column of text")
    labels = options.get("labels", ())
    _check_class_names(labels)
    if written and labels and len(labels) != len(written):
        raise ConfigError(
            f"task.labels={list(labels)}: the data has {len(written)} classes; leave it out"
        )


def check_pair(options: Options) -> None:
    """Check that a task which compares two texts has two columns of them."""
    if len(options["inputs"]) < 2:
        raise ConfigError(f"task.inputs={list(options['inputs'])}: name two columns of text")


def check_answer_after(options: Options) -> None:
    """Check the text behind which an answer stands."""
    if options.get("answer_after") == "":
        raise ConfigError("task.answer_after='': must not be empty; null compares the whole text")


def check_columns(options: Options) -> None:
    """Check that no column is both the source and the target, and that both are named."""
    for part in ("source", "target"):
        # "None" is what an interpolation of task.label=null gives.
        if part in options["columns"] and options["columns"][part] in (None, "", "None"):
            raise ConfigError(f"task.columns.{part}={options['columns'][part]}: name the column")
    columns = [column for column in options["columns"].values() if column]
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise ConfigError(
            f"task.columns={dict(options['columns'])}: names the column {twice} twice"
        )


def check_generated_splits(options: Options) -> None:
    """Check for which splits texts are generated."""
    if not options["generated_splits"]:
        raise ConfigError("task.generated_splits=[]: the run would have no scores")
    scored = dict.fromkeys((*SCORED_SPLITS, *options.get("files", ()), *options["hub_splits"]))
    scored.pop("train", None)
    for split in options["generated_splits"]:
        if split not in scored:
            raise ConfigError(unknown("task.generated_splits", split, scored))


def check_hub_splits(options: Options) -> None:
    """Check the hub's splits of a task; text can do without validation where it holds a share out.

    Raises:
        ConfigError: a needed split is missing, or a value is no text.
    """
    splits = options["hub_splits"]
    for split in ("train",) if "validation_share" in options else ("train", "validation"):
        if split not in splits:
            raise ConfigError(f"task.hub_splits: name the hub's split for {split}")
    for split, name in splits.items():
        if not isinstance(name, str) or not name:
            raise ConfigError(f"task.hub_splits.{split}={name}: must be the name of a split")


def check_question_columns(options: Options) -> None:
    """Check the names of what a data set of questions has in columns."""
    columns = options["columns"]
    for column in columns:
        if column not in QUESTION_COLUMNS:
            raise ConfigError(unknown_key(f"task.columns.{column}", QUESTION_COLUMNS))
    for column in QUESTION_COLUMNS:
        if column not in columns or (columns[column] is None and column != "id"):
            raise ConfigError(f"task.columns.{column}: name the column")
    check_columns(options)


def check_generation(options: Options) -> None:
    """Check how texts are generated."""
    settings = options["generation"]
    for key, value in settings.items():
        if key not in _GENERATION:
            raise ConfigError(unknown_key(f"task.generation.{key}", _GENERATION))
        kinds = _KINDS.get(key, (int,))
        if type(value) not in kinds:
            raise ConfigError(f"task.generation.{key}={value}: must be {kinds[-1].__name__}")
        if key in _LEAST and value < _LEAST[key]:
            raise ConfigError(f"task.generation.{key}={value}: must be at least {_LEAST[key]}")
    if "max_new_tokens" not in settings:
        raise ConfigError(
            "task.generation.max_new_tokens: is missing, and a default of transformers would be no "
            "part of the run; add +task.generation.max_new_tokens=64"
        )
    least, most = (settings.get(f"{end}_new_tokens", 0) for end in ("min", "max"))
    if least > most:
        raise ConfigError(
            f"task.generation.min_new_tokens={least}: is more than "
            f"task.generation.max_new_tokens={most}"
        )


def check_decimal_mark(options: Options) -> None:
    """Check what stands before decimals."""
    mark = options.get("decimal_mark", "point")
    if mark not in DECIMAL_MARKS:
        raise ConfigError(unknown("task.decimal_mark", mark, DECIMAL_MARKS))
    metrics = list(options.get("metrics", ()))
    if mark != DECIMAL_MARKS[0] and metrics and "number_match" not in metrics:
        raise ConfigError(
            f"task.decimal_mark={mark}: is how number_match reads numbers, which is not among "
            f"task.metrics={metrics}"
        )


def check_tokenizers(options: Options) -> None:
    """Check what splits texts into words for the metrics.

    Raises:
        ConfigError: a metric has no tokenizers, or not this one.
    """
    for metric, tokenizer in options["scoring_tokenizers"].items():
        key = f"task.scoring_tokenizers.{metric}"
        if metric not in TOKENIZERS:
            raise ConfigError(unknown_key(key, TOKENIZERS))
        if tokenizer not in TOKENIZERS[metric]:
            raise ConfigError(unknown(key, tokenizer, TOKENIZERS[metric]))


QUESTIONS = (check_questions, check_answer_metrics, check_hub_splits, check_question_columns)
TEXT = (check_text_columns, check_share, check_text_labels, check_hub_splits)
TEXTS = (
    *(check_generation, check_columns, check_hub_splits),
    *(check_generated_splits, check_decimal_mark, check_answer_after),
)

_SENTENCES = ("demo_cola", "demo_pairs", "demo_rte", "demo_stsb", "glue")

CHECKS: Mapping[str, Sequence[Callable[[Options], None]]] = {
    **dict.fromkeys(("demo_questions", "squad"), QUESTIONS),
    **dict.fromkeys(_SENTENCES, (check_sentence_metrics, check_fixed_inputs)),
    **dict.fromkeys(
        ("superglue", "wic", "wsc"),
        (check_sentence_metrics, check_fixed_inputs, check_pair, check_hub_splits),
    ),
    **dict.fromkeys(("copa", "multirc", "record"), (check_hub_splits,)),
    "text": (*TEXT, check_own_metrics),
    **dict.fromkeys(
        ("complete", "demo_summaries", "demo_sums", "text_to_text"),
        (check_tokenizers, check_text_metrics, *TEXTS),
    ),
}
"""By method, in the order in which the method itself checks its options."""
