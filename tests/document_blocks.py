"""The code blocks of README.md and docs/, and the folder in which they are run.

A block that cannot be run here, because it needs GPUs or a cluster, stands below the comment
`<!-- not run: REASON -->`. All others of a page are run in their order; what they read from the hub
comes from the tests' stand-in.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hub_files import data_files
from stand_in_hub import StandInHub

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(
    r'(?:<!-- not run: (?P<reason>[^\n]*) -->\n)?^```(?P<kind>\w+)(?: title="(?P<title>[^"]*)")?\n'
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_SMALL = {
    "minilm": "tiny-bert",
    "roberta-base": "tiny-roberta",
    "bart-large": "tiny-bart",
    "t5-base": "tiny-t5",
    "qwen": "tiny-qwen",
}
"""The backbones with random weights that stand for the ones in the documents."""
_TRAINS = ("train", "compare", "variance", "reproduce")
_COUNTED = ("params", "plan", *_TRAINS)
_QUICK = ("task.limit=8", "protocol.epochs=1", "device=cpu")
_HELD_OUT = ("task.limit=40", "protocol.epochs=1", "device=cpu")
"""For what chooses on a tenth of the training set."""
_SEARCHES = {
    "search=grid": ("protocol.learning_rate=1e-4,2e-4", "protocol.batch_size=8", *_QUICK),
    "search=asha": (
        *("search.learning_rate=[1e-4]", "search.epochs=[1,2]", "search.batch_size=[8]"),
        *("search.first_rung=1", "task.limit=40", "device=cpu"),
    ),
}
"""The smallest searches of each kind."""
_ONE_COLUMN = "only=column=mrpc"
NAMED = {
    "RUN": ("task=mrpc", "task.path=data/glue"),
    "RUN2": ("task=mrpc", "task.path=data/glue", "pruner=random"),
    "LORA": ("adapter=lora", "pruner.probe=true"),
    "SPARSE": ("adapter=sparse", "pruner=random", "adapter.budget=0.0125", "sparsity=0"),
    "HOULSBY": ("adapter=houlsby",),
    "PFEIFFER": ("adapter=pfeiffer",),
    "PFEIFFER2": ("adapter=pfeiffer", "seed=2"),
    "demo_mrpc": ("task=demo_mrpc",),
}
"""The runs that the documents name, also by their task, and what each is trained with."""


class Block(NamedTuple):
    """A code block; `title` is the name of the file that it is the content of."""

    kind: str
    title: str | None
    text: str
    runs: bool
    reason: str | None


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page."""
    return [
        Block(
            found["kind"], found["title"], found["text"], found["reason"] is None, found["reason"]
        )
        for found in _BLOCK.finditer(page.read_text("utf-8"))
    ]


def commands_of(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command of a console block, without its comment."""
    for line in block.text.splitlines() if block.kind == "console" else ():
        if line.startswith("$ "):
            yield shlex.split(line[2:], comments=True)


def sparsead_words(page: Path) -> Iterator[list[str]]:
    """Yield the words after `sparsead` of each command of a page that begins with it."""
    for block in blocks_of(page):
        for command in commands_of(block):
            left = [word for word in command if not re.fullmatch(r"[A-Z]+=\S*", word)]
            if left[:1] == ["sparsead"]:
                yield left[1:]


def quicken(words: list[str], runs: dict[str, str]) -> list[str]:
    """Return the words of a command with tiny backbones, few examples and the names of runs.

    Args:
        words: the words after `sparsead`.
        runs: what stands for the names of runs in the documents, such as RUN.
    """
    verb, *others = words
    small = [re.sub(r"(?<=backbone=)[\w-]+", lambda m: _SMALL.get(m[0], m[0]), w) for w in others]
    named = [re.sub(r"\b[A-Z]+2?\b", lambda m: runs.get(m[0], m[0]), w) for w in small]
    of_table = any(re.fullmatch(r"table\d|figure\d", word) for word in named)
    if of_table and not any(word.startswith(_ONE_COLUMN[:12]) for word in named):
        named.append(_ONE_COLUMN)
    if (verb in _COUNTED or of_table) and "--paper" not in named:
        if not any(word.startswith("backbone=") for word in named):
            named.append("backbone=tiny-bert")
        if verb in _TRAINS or of_table:
            keys = {word.partition("=")[0] for word in named}
            named += [word for word in _quick(named) if word.partition("=")[0] not in keys]
    fewer = [re.sub(r"^(seeds=)\d+$", r"\g<1>2", word) for word in named]
    return [verb, *("seed=1,2" if word == "seed=1,2,3" else word for word in fewer)]


def _quick(words: list[str]) -> tuple[str, ...]:
    """Return the overrides that make a command short."""
    for search, small in _SEARCHES.items():
        if search in words:
            return small
    return _HELD_OUT if "protocol=clean" in words else _QUICK


def publish(hub: StandInHub) -> None:
    """Put the data sets that the documents' commands read from the hub into its stand-in."""
    pairs: list[dict[str, Any]] = [
        {"sentence1": f"{n} cats.", "sentence2": "A cat.", "label": n % 2, "idx": n}
        for n in range(40)
    ]
    graded = [row | {"label": float(row["idx"] % 5)} for row in pairs]
    judged = [
        {"sentence": row["sentence1"], "label": row["label"], "idx": row["idx"]} for row in pairs
    ]
    premises = [
        {"premise": row["sentence1"], "hypothesis": "A cat.", "label": n % 3, "idx": n}
        for n, row in enumerate(pairs)
    ]
    glue: dict[str, Any] = {
        config: {"train": rows, "validation": rows}
        for config, rows in (("mrpc", pairs), ("rte", pairs), ("stsb", graded), ("cola", judged))
    }
    matched = {"validation_matched": premises, "validation_mismatched": premises}
    glue["mnli"] = {"train": premises, **matched}
    hub.commit("datasets", "nyu-mll/glue", data_files(glue))
    reviews = [{"text": row["sentence1"], "label": row["label"]} for row in pairs]
    imdb = {"plain_text": {"train": reviews, "test": reviews}}
    hub.commit("datasets", "stanfordnlp/imdb", data_files(imdb))
    translations = [{"translation": {"en": f"{n} cats", "ro": f"{n} pisici"}} for n in range(8)]
    wmt = {"ro-en": {"train": translations, "validation": translations}}
    hub.commit("datasets", "wmt/wmt16", data_files(wmt))
    asked = [
        {
            "id": str(n),
            "question": "Where did the cat sit?",
            "context": "The cat sat on the mat.",
            "answers": {"text": ["the mat"], "answer_start": [15]},
        }
        for n in range(8)
    ]
    answered = {"default": {"train": asked, "validation": asked}}
    hub.commit("datasets", "OWNER/NAME", data_files(answered))


def furnish(folder: Path) -> None:
    """Write into an empty folder the files that the documents' commands read."""
    (folder / "data").mkdir()
    glue = folder / "data" / "glue"
    shutil.copytree(ROOT / "tests" / "data" / "glue", glue)
    head = ("index", "#1 ID", "#2 ID", "#1 String", "#2 String")
    row = ("0", "1", "2", "The cat sat.", "A cat was sitting.")
    (glue / "MRPC" / "test.tsv").write_text("".join("\t".join(line) + "\n" for line in (head, row)))
    (folder / "results").symlink_to(ROOT / "results")
    (folder / "b.csv").write_text("question,answer,grade\nWhere?,Here.,good\nWhy?,Blue.,bad\n")
    pairs = [{"sentence1": "The cat sat.", "sentence2": "A cat was sitting."}]
    documents = [{"document": f"The cat sat {n} times.", "summary": "A cat sat."} for n in range(8)]
    sentences = [{"src": f"The cat sat {n} times.", "tgt": "Die Katze sass."} for n in range(8)]
    for name, rows in (("rows", pairs), ("articles", documents), ("pairs", sentences)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    context = "The cat sat on the mat."
    answers = [{"text": "the mat", "answer_start": context.index("the mat")}]
    questions = [
        {"id": str(number), "question": "Where did the cat sit?", "answers": answers}
        for number in range(4)
    ]
    paragraphs = [{"context": context, "qas": questions}]
    squad = {"version": "1.1", "data": [{"title": "cats", "paragraphs": paragraphs}]}
    (folder / "squad.json").write_text(json.dumps(squad))
