"""A model card for an exported run, made from its record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import Any

from sparsead.config.seeds import Seeds
from sparsead.errors.display import escape_json
from sparsead.pruning.storage import WEIGHTS_FILE, load_weights
from sparsead.report.formats import escape_markdown
from sparsead.report.outcome import chose_weights, score_interval
from sparsead.runs.files import file_digest
from sparsead.runs.record import RunRecord

_LOADING = {
    "adapters": "import adapters\nfrom transformers import {head}\n\n"
    "model = {head}.from_pretrained({base}{revision}{classes})\n"
    "adapters.init(model)\nmodel.{load}({place}, set_active=True)",
    "peft": "from peft import PeftModel\nfrom transformers import {head}\n\n"
    "model = {head}.from_pretrained({base}{revision}{classes})\n"
    "model = PeftModel.from_pretrained(model, {place})",
    "transformers": "from transformers import {head}\n\nmodel = {head}.from_pretrained({place})",
}
_HEADS = {
    **dict.fromkeys(("squad", "demo_questions"), "AutoModelForQuestionAnswering"),
    **dict.fromkeys(("complete", "demo_sums"), "AutoModelForCausalLM"),
    **dict.fromkeys(("text_to_text", "demo_summaries"), "AutoModelForSeq2SeqLM"),
}
"""transformers' class by the method of the task; classifiers for all others."""

_COLLAPSED = ("", "The run collapsed: it predicts the same for all examples.")


def write_card(
    record: RunRecord,
    library: str,
    place: str,
    others: Iterable[RunRecord],
    backbone: str | None = None,
) -> str:
    """Return the model card, in Markdown, of a run that was exported.

    What the record names is written as text, and never as Markdown, YAML or Python of its own.

    Args:
        record: the run.
        library: the library that loads the folder.
        place: the folder or the repository on the hub, as its reader names it.
        others: runs among which those of the same setting, with other seeds, are looked for.
        backbone: folder of the backbone, as its reader finds it, if it is not on the hub.
    """
    config = record.result["config"]
    names = {group: config[group]["name"] for group in ("adapter", "pruner", "backbone", "task")}
    base = hub_name(config["backbone"])
    head = ["---", f"library_name: {library}", "tags: [sparsead]"]
    head += [f"base_model: {_quote(base)}"] if base else []
    lines = [
        *(*head, "---", "", f"# {names['adapter']} on {names['backbone']} for {names['task']}", ""),
        f"An adapter of the method {names['adapter']} in {names['backbone']}, trained on "
        f"{names['task']}. {_describe_weights(record, names['pruner'])}",
        *("", "## Scores", "", "| score | value |", "| --- | ---: |"),
        *(
            f"| {escape_markdown(name)} | {_format(score)} |"
            for name, score in record.result["scores"].items()
        ),
        *(_COLLAPSED if record.result.get("collapsed") else ()),
        *("", *_describe_spread(record, others)),
        *(
            "",
            "## How to load it",
            "",
            "```python",
            _loading(record, library, place, backbone),
            "```",
        ),
        *("", "## Where it comes from", "", f"- run: {record.result['identity']}"),
        f"- seed: {Seeds.read(config)}",
        f"- {WEIGHTS_FILE}: SHA-256 {file_digest(record.folder / WEIGHTS_FILE)}",
        f"- {_describe_length(record)}, learning rate "
        f"{config['protocol']['learning_rate']:g}, batch size {config['protocol']['batch_size']}",
    ]
    return "\n".join(lines) + "\n"


def _describe_length(record: RunRecord) -> str:
    """Say how many epochs were trained, which a limit of the steps or patience makes fewer."""
    asked = record.result["config"]["protocol"]["epochs"]
    history = record.result.get("history") or [{"epoch": asked}]
    trained = history[-1]["epoch"]
    return f"epochs {asked}" if trained >= asked else f"{trained:.3g} of {asked} epochs"


def hub_name(backbone: Mapping[str, Any]) -> str | None:
    """Return the name on the hub of a backbone's weights; None if they are not there.

    Args:
        backbone: the backbone's configuration in a record.
    """
    name: str | None = backbone["hub"] or backbone.get("package_hub")
    return name


def _describe_weights(record: RunRecord, pruner: str) -> str:
    """Return a sentence on the weights that the pruner removed, or that it chose to train."""
    sparsity = record.result["sparsity"]
    removed, total = sparsity["removed"], sparsity["total"]
    if chose_weights(record):
        start = record.result["config"]["adapter"].get("start")
        chosen = f"{pruner} chose" if start is None else "the run's start names"
        return (
            f"{total - removed} of {total} weights of the backbone "
            f"({100 * (1 - sparsity['realised']):.2f} %), which {chosen}, were trained; all "
            "others are as they were pretrained."
        )
    return (
        f"{removed} of its {total} prunable weights ({100 * sparsity['realised']:.2f} %) were "
        f"removed by {pruner} before training; they are zeros."
    )


def _describe_spread(record: RunRecord, others: Iterable[RunRecord]) -> list[str]:
    """Return lines with the interval over the examples, and the scores of other seeds."""
    lines = []
    if (interval := score_interval(record)) is not None:
        lines.append(
            f"The main score lies between {interval.low / 100:z.4f} and {interval.high / 100:z.4f} "
            f"with 95 % confidence, over the {interval.examples} evaluated examples (bootstrap)."
        )
    same = [other for other in others if other.result["setting"] == record.result["setting"]]
    scores = {Seeds.read(each.result["config"]): each.main_score for each in (*same, record)}
    ranked = sorted(scores.items(), key=lambda found: astuple(found[0]))
    each = ", ".join(f"{seeds}: {_format(score)}" for seeds, score in ranked)
    return [*lines, f"By seed of the same setting: {each}."]


def _loading(record: RunRecord, library: str, place: str, folder: str | None) -> str:
    config = record.result["config"]
    backbone: Mapping[str, str | None] = config["backbone"]
    tensors = load_weights(record).tensors
    head = [t for name, t in tensors.items() if ".adapter." not in name and name.endswith("weight")]
    classes = len(head[-1]) if head else 2  # 2 is what transformers assumes
    commit = record.backbone_commit if hub_name(backbone) else None
    fused = config["adapter"]["method"] == "fusion"
    return _LOADING[library].format(
        head=_HEADS.get(config["task"]["method"], "AutoModelForSequenceClassification"),
        load="load_adapter_setup" if fused else "load_adapter",
        base=_quote(hub_name(backbone) or folder or backbone["name"]),
        revision=f', revision="{commit}"' if commit else "",
        classes=f", num_labels={classes}" if classes != 2 else "",
        place=_quote(place),
    )


def _quote(text: str | None) -> str:
    """Return a text in quotes and in one line, as both YAML and Python read it."""
    return escape_json(json.dumps(text, ensure_ascii=False))


def _format(score: float | None) -> str:
    return "not defined" if score is None else f"{score:z.4f}"
