"""The values that options of the project's own methods may have, checked without importing torch.

The methods call these functions too, so that a program that uses them without a configuration gets
the same messages. What depends on the model or on the data is checked where these are loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sparsead.errors import ConfigError, unknown, unknown_key

INITS = ("bert", "zero_up")
LAYER_NORMS = ("before", "after")
TRAINING = ("frozen", "trained")
BOTTLENECK_SITES = (
    *("attention_output", "ffn_output", "ffn_norm", "query", "key", "value"),
    *("attention_projection", "ffn_input", "ffn_projection"),
)
"""The kinds of site, fields of `sparsead.backbones.contract.Sites`, that bottlenecks go to."""
FUSED = (None, "qk")
SCORED_SPLITS = ("validation", "test")
"""The splits for which texts can be generated, besides further ones of the hub or a folder."""
QUESTION_COLUMNS = ("id", "question", "context", "answers")
"""What a data set of questions has in columns."""
TOKENIZERS: Mapping[str, tuple[str, ...]] = {
    "rouge": ("english", "unicode"),
    "bleu": ("13a", "intl", "zh", "char"),
}
"""By metric, what can split texts into words for it."""
METRICS: Mapping[str, tuple[str, ...]] = {
    "classes": ("accuracy", "f1", "f1_macro", "matthews_correlation"),
    "numbers": ("pearson", "spearmanr", "mae", "mse"),
    "answers": ("f1", "exact_match"),
    "texts": ("rouge1", "rouge2", "rougeL", "bleu", "chrf"),
}
"""By what a task predicts, the names of the project's metrics; a test compares them."""
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
    "text_to_text": (
        "task.train, task.validation: name a .jsonl, .csv, .tsv or .parquet file for each, or a "
        "data set of the hub with task.hub=NAME"
    ),
}
"""By the method of a task, what to say where it has neither files nor a data set on the hub."""

_MODES = ("eval", "train")
_FAITHFUL = ("paper",)
_LEAST = {"num_beams": 1, "max_new_tokens": 1, "min_new_tokens": 0, "no_repeat_ngram_size": 0}
_KINDS: dict[str, tuple[type, ...]] = {"length_penalty": (int, float), "early_stopping": (bool,)}
_GENERATION = (*_LEAST, *_KINDS)
_KIND_OF: Mapping[str, type] = {
    **dict.fromkeys(("sites", "inputs", "labels", "metrics", "generated_splits"), list),
    **dict.fromkeys(("fusion", "columns", "generation", "scoring_tokenizers", "hub_splits"), dict),
    **dict.fromkeys(("question_length", "answer_length", "n_best", "stride"), int),
}
"""The types of options that no default tells."""

Options = Mapping[str, Any]


def check_values(group: str, method: str, options: Options) -> None:
    """Refuse a value that an option of one of the project's own methods cannot have.

    Args:
        group: adapter, pruner or task.
        method: the method's name in its registry.
        options: all of its options, those with a default included.

    Raises:
        ConfigError: the message names the value and what is allowed.
    """
    if any(not isinstance(options.get(key, kind()), kind) for key, kind in _KIND_OF.items()):
        return  # the registry refuses it where the method is built
    for check in _CHECKS[group].get(method, ()):
        with suppress(TypeError):  # of a value in a list, likewise
            check(options)


def check_all(checks: Iterable[Callable[[Options], None]], options: Options) -> None:
    """Call some of the checks below, one after the other."""
    for check in checks:
        check(options)


# Adapters.


def check_init(options: Options) -> None:
    """Check how an adapter is initialised."""
    if options["init"] not in INITS:
        raise ConfigError(unknown("adapter.init", options["init"], INITS))


def check_dropout(options: Options) -> None:
    """Check an adapter's dropout probability."""
    if not 0 <= options["dropout"] < 1:
        raise ConfigError(f"adapter.dropout={options['dropout']:g}: must be at least 0 and below 1")


def check_layer_norm(options: Options) -> None:
    """Check the place of a bottleneck's own LayerNorm."""
    layer_norm = options["layer_norm"]
    if layer_norm is not None and layer_norm not in LAYER_NORMS:
        raise ConfigError(unknown("adapter.layer_norm", layer_norm, ("null", *LAYER_NORMS)))


def check_trained_parts(options: Options) -> None:
    """Check whether the head and the backbone's LayerNorms train."""
    for key in ("backbone_norms", "head"):
        if options[key] not in TRAINING:
            raise ConfigError(unknown(f"adapter.{key}", options[key], TRAINING))


def check_sites(options: Options) -> None:
    """Check the names of the kinds of site that bottlenecks go to."""
    for site in options["sites"]:
        if site not in BOTTLENECK_SITES:
            raise ConfigError(unknown("adapter.sites", site, BOTTLENECK_SITES))


def check_length(options: Options) -> None:
    """Check the length of the prefixes of the adapter `mam`."""
    if options["length"] is not None and options["length"] < 1:
        raise ConfigError(f"adapter.length={options['length']}: must be at least 1")


def check_prefix(options: Options) -> None:
    """Check the options of prefixes."""
    prefix = options["prefix"]
    scale = prefix.get("scale", 1.0) if isinstance(prefix, Mapping) else 1.0
    if isinstance(scale, int | float) and not 0 < scale < math.inf:
        raise ConfigError(f"adapter.prefix.scale={scale:g}: must be a number above 0")


def check_fused(options: Options) -> None:
    """Check what of a fusion is pruned."""
    prune = options["fusion"].get("prune")
    if prune not in FUSED:
        raise ConfigError(unknown("adapter.fusion.prune", prune, ("null", "qk")))


def check_sources(options: Options) -> None:
    """Check that there are adapters to combine."""
    if not options["fusion"].get("adapters"):
        raise ConfigError(
            "adapter.fusion.sources=[]: name finished runs of adapter=pfeiffer, "
            "or with adapter.fusion.tasks the tasks to train it on first"
        )


# Pruners.


def check_snip(options: Options) -> None:
    """Check the mode of SNIP, its passes, and its deviation from its own equation."""
    mode, draws, faithful = (options[key] for key in ("mode", "draws", "faithful"))
    if mode not in _MODES:
        raise ConfigError(unknown("pruner.mode", mode, _MODES))
    if faithful is not None and faithful not in _FAITHFUL:
        raise ConfigError(unknown("pruner.faithful", faithful, ("null", *_FAITHFUL)))
    if draws < 1:
        raise ConfigError(f"pruner.draws={draws}: must be at least 1")
    if mode == "eval" and draws != 1:
        raise ConfigError(
            f"pruner.draws={draws}: without dropout all passes are equal; set pruner.mode=train "
            "or pruner.draws=1"
        )


def check_temperature(options: Options) -> None:
    """Check what the logits are divided by."""
    if not 0 < options["temperature"] < math.inf:
        raise ConfigError(
            f"pruner.temperature={options['temperature']:g}: must be a number above 0"
        )


def check_rounds(options: Options) -> None:
    """Check the number of rounds of an iterative pruner."""
    if options["rounds"] < 1:
        raise ConfigError(f"pruner.rounds={options['rounds']}: must be at least 1")


def check_groups(options: Options) -> None:
    """Check how many weights of how large a group are kept."""
    n, m = options["n"], options["m"]
    if not 1 <= n < m:
        raise ConfigError(f"pruner.n={n}: must be at least 1 and below pruner.m={m}")


# Tasks.


def check_questions(options: Options) -> None:
    """Check the lengths of questions and answers, and the number of answers."""
    for key in ("question_length", "answer_length", "n_best"):
        if options[key] < 1:
            raise ConfigError(f"task.{key}={options[key]}: must be at least 1")
    if options["stride"] < 0:
        raise ConfigError(f"task.stride={options['stride']}: must be at least 0")


def check_metrics(names: Sequence[str], choices: Collection[str]) -> None:
    """Check the names of a task's metrics; whether those of the user's own are there is not.

    Args:
        names: names and dotted paths.
        choices: the names of the project's metrics for what the task predicts.
    """
    if not names:
        raise ConfigError(f"task.metrics=[]: name one of {', '.join(sorted(choices))}")
    for name in names:
        if "." not in name and name not in choices:
            raise ConfigError(unknown("task.metrics", name, choices))
        if "." in name and score_name(name) in choices:
            raise ConfigError(
                f"task.metrics={name}: {score_name(name)} is a metric of the project; give yours "
                "another name"
            )
    if len({score_name(name) for name in names}) < len(names):
        raise ConfigError(f"task.metrics={list(names)}: two of them have the same name")


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
    for label in options["labels"]:
        if not isinstance(label, str | int | float):
            raise ConfigError(f"task.labels: {label!r} is not the name of a class")
    if options["regression"] and options["labels"]:
        raise ConfigError("task.labels: task.regression=true predicts numbers, not labels")


def check_columns(options: Options) -> None:
    """Check that no column is both the source and the target."""
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
    least, most = (settings.get(f"{end}_new_tokens", 0) for end in ("min", "max"))
    if most and least > most:
        raise ConfigError(
            f"task.generation.min_new_tokens={least}: is more than "
            f"task.generation.max_new_tokens={most}"
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


BOTTLENECK = (check_dropout, check_layer_norm, check_init)
LOW_RANK = (check_dropout, check_init)
QUESTIONS = (check_questions, check_answer_metrics, check_hub_splits, check_question_columns)
TEXT = (check_text_columns, check_share, check_text_labels, check_hub_splits)
TEXTS = (check_generation, check_columns, check_hub_splits, check_generated_splits)

_SENTENCES = ("demo_cola", "demo_pairs", "demo_rte", "demo_stsb", "glue")

_CHECKS: Mapping[str, Mapping[str, Sequence[Callable[[Options], None]]]] = {
    "adapter": {
        "bottleneck": (*BOTTLENECK, check_trained_parts, check_sites),
        "dora": LOW_RANK,
        "fusion": (check_fused,),
        "lora": LOW_RANK,
        "mam": (*BOTTLENECK, check_length, check_prefix),
        "parallel": BOTTLENECK,
        "pfeiffer": BOTTLENECK,
        "prefix": (check_prefix,),
    },
    "pruner": {
        "force": (check_rounds,),
        "grasp": (check_temperature,),
        "nm": (check_groups,),
        "snip": (check_snip,),
        "synflow": (check_rounds,),
    },
    "task": {
        **dict.fromkeys(("demo_questions", "squad"), QUESTIONS),
        **dict.fromkeys(_SENTENCES, (check_sentence_metrics,)),
        **dict.fromkeys(("superglue", "wic", "wsc"), (check_sentence_metrics, check_hub_splits)),
        **dict.fromkeys(("copa", "multirc", "record"), (check_hub_splits,)),
        "text": (*TEXT, check_own_metrics),
        **dict.fromkeys(
            ("demo_summaries", "text_to_text"), (check_tokenizers, check_text_metrics, *TEXTS)
        ),
    },
}
"""By config group and method, in the order in which the method itself checks its options."""
