"""The default of every option of a method, which a run's identity leaves out.

An option that is added later is listed here with the value that gives the same result as before, so
that no recorded run changes its identity. The values repeat those of the classes and functions in
the registries, because identities are computed without importing torch; a test compares the two. A
changed default changes results under an unchanged identity: increase RESULT_FORMAT with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from sparsead.config.run import SECTIONS

_BOTTLENECK: dict[str, Any] = {
    "activation": "relu",
    "scale": 1.0,
    "dropout": 0.0,
    "layer_norm": None,
    "init": "bert",
}
_PARALLEL = _BOTTLENECK | {"scale": 4.0}
_PREFIX: dict[str, Any] = {"prefix": {"prune": True, "scale": 1.0}}
_HUB_SPLITS = {"train": "train", "validation": "validation"}
_TEXTS: dict[str, Any] = {
    "prefix": "",
    "scoring_tokenizers": {"rouge": "english", "bleu": "13a"},
    "hub": None,
    "hub_config": None,
    "hub_revision": None,
    "hub_splits": _HUB_SPLITS | {"test": "test"},
}
_COMPLETIONS: dict[str, Any] = _TEXTS | {
    "suffix": "",
    "answer_after": None,
    "decimal_mark": "point",
}
_QUESTIONS: dict[str, Any] = {
    "hub": "",
    "hub_config": None,
    "hub_splits": _HUB_SPLITS,
    "columns": {name: name for name in ("id", "question", "context", "answers")},
}
_OF_SUPERGLUE: dict[str, Any] = {"hub": "", "hub_config": "", "hub_splits": _HUB_SPLITS}
_SENTENCES: dict[str, Any] = {"regression": False}

OPTIONS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "adapter": {
        "bitfit": {"budget": None},
        "bottleneck": _BOTTLENECK | {"backbone_norms": "frozen", "head": "trained"},
        "dora": {"alpha": 16.0, "dropout": 0.0, "init": "bert"},
        "ia3": {"init": "bert"},
        "lora": {"alpha": 16.0, "dropout": 0.0, "init": "bert"},
        "mam": _PARALLEL | _PREFIX | {"length": None},
        "parallel": _PARALLEL,
        "peft": {"config": {}},
        "pfeiffer": _BOTTLENECK,
        "prefix": _PREFIX,
    },
    "pruner": {
        "force": {"rounds": 10},
        "grasp": {"temperature": 1.0},
        "nm": {"n": 2, "m": 4, "criterion": "magnitude"},
        "snip": {"mode": "eval", "draws": 1, "faithful": None},
        "synflow": {"rounds": 10},
        "units": {"criterion": "snip"},
    },
    "task": {
        "complete": _COMPLETIONS,
        "demo_cola": _SENTENCES,
        "demo_pairs": _SENTENCES,
        "demo_questions": _QUESTIONS,
        "demo_rte": _SENTENCES,
        "demo_stsb": _SENTENCES,
        "demo_summaries": _TEXTS,
        "demo_sums": _COMPLETIONS,
        "glue": _SENTENCES
        | {
            "tsv_columns": {},
            "tsv_header": [],
            "tsv_labels": [],
            "tsv_id": None,
            "tsv_skip_short": False,
            "hub": "",
            "hub_config": "",
            "hub_splits": {},
            "tests": {},
        },
        **dict.fromkeys(("superglue", "wic", "wsc"), _SENTENCES | _OF_SUPERGLUE),
        **dict.fromkeys(("copa", "multirc", "record"), _OF_SUPERGLUE),
        "squad": _QUESTIONS,
        "text": _SENTENCES
        | {
            "validation_share": None,
            "label": "label",
            "id": None,
            "hub": None,
            "hub_config": None,
            "hub_splits": _HUB_SPLITS,
        },
        "text_to_text": _TEXTS,
    },
}
"""By config group and method: the options that have a default."""


def leave_out_defaults(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's configuration without the keys that have their default.

    Args:
        run: plain values, as `RunSpec.to_dict` returns them.
    """
    return {
        key: _without(values, _defaults(key, values.get("method"))) if key in SECTIONS else values
        for key, values in run.items()
    }


def _defaults(group: str, method: str | None) -> dict[str, Any]:
    options = OPTIONS.get(group, {}).get(str(method), {})
    own = {
        f.name: f.default if f.default is not MISSING else {}
        for f in fields(SECTIONS[group])
        if f.default is not MISSING or f.default_factory is not MISSING
    }
    return own | {"options": options}


def _without(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in values.items():
        default = defaults.get(key, MISSING)
        if isinstance(value, dict) and isinstance(default, dict):
            value, default = _without(value, default), {}
        if value != default:
            kept[key] = value
    return kept
