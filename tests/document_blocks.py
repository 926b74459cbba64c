"""The code blocks of README.md and docs/, and the folder in which they are run.

A block that cannot be run here, because it needs the hub, a GPU or a cluster, stands below the
comment `<!-- not run: REASON -->`. All others of a page are run in their order.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(
    r'(?P<skip><!-- not run: [^\n]*-->\n)?^```(?P<kind>\w+)(?: title="(?P<title>[^"]*)")?\n'
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


class Block(NamedTuple):
    """A code block; `title` is the name of the file that it is the content of."""

    kind: str
    title: str | None
    text: str
    runs: bool


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page."""
    return [
        Block(found["kind"], found["title"], found["text"], found["skip"] is None)
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
    named = [runs.get(word, word) for word in small]
    if verb in _COUNTED and "--paper" not in named:
        if not any(word.startswith("backbone=") for word in named):
            named.append("backbone=tiny-bert")
        keys = {word.partition("=")[0] for word in named}
        if verb in _TRAINS:
            named += [word for word in _QUICK if word.partition("=")[0] not in keys]
    return [verb, *(re.sub(r"^(seeds=)\d+$", r"\g<1>2", word) for word in named)]


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
