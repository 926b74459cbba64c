"""The tasks of SuperGLUE that classify a pair of texts: BoolQ, CB, WiC and WSC.

They are read from the hub, or from a folder in SuperGLUE's JSON layout. The tasks that choose among
candidates are in `superglue_questions.py`; RTE is that of GLUE.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from sparsead.config.values.tasks import check_hub_splits
from sparsead.hub.sources import data_source
from sparsead.tasks.contract import TASKS, NewRow
from sparsead.tasks.files import read_file
from sparsead.tasks.hub_rows import read_hub
from sparsead.tasks.rows import Rows, class_name, quote_value, whole_number
from sparsead.tasks.sentences import SentenceTask

_WSC_HUB = ("text", "span1_text", "span2_text", "span2_index")
_WSC_FILE = ("text", "target.span1_text", "target.span2_text", "target.span2_index")
_MARKED = re.compile(r"\*[^*]+\*")
HUB_SPLITS = {"train": "train", "validation": "validation"}
_SPELLINGS = {"True": "true", "False": "false", "1": "true", "0": "false"}
"""How the hub and the files write the classes true and false."""


def read_superglue(
    path: str | None,
    files: Mapping[str, str],
    hub: tuple[str, str, str, str | None],
    hub_splits: Mapping[str, str],
    columns: Sequence[str],
) -> dict[str, Rows]:
    """Read the columns of every split, from the folder if there is one, else from the hub.

    Args:
        path: the folder, or None.
        files: split → file below it.
        hub: the task's name, and name, configuration and revision of the data set.
        hub_splits: the task's split → the hub's split.
        columns: names of the columns; `a.b` is the key `b` of an object `a`.

    Raises:
        DataError: the data is malformed or lacks a column.
        SourceError: the data set cannot be obtained.
    """
    if path is not None:
        return {split: read_file(Path(path) / file, columns) for split, file in files.items()}
    name, hub_name, config, revision = hub
    source = data_source(name, "superglue", hub_name, config, revision)
    return read_hub(source, hub_splits, columns)


@TASKS.register("superglue")
@dataclass(frozen=True)
class SuperGlueTask(SentenceTask):
    """A class for a pair of texts that the data has in two columns, `inputs`.

    Args:
        hub: name of the data set on the hub.
        hub_config: name of the configuration of that data set.
        hub_splits: the task's split → the hub's split.
        revision: the hub's branch, tag or commit; None for its main branch.
    """

    hub: str = ""
    hub_config: str = ""
    hub_splits: Mapping[str, str] = field(default_factory=lambda: dict(HUB_SPLITS))
    revision: str | None = None

    def __post_init__(self) -> None:
        check_hub_splits(vars(self))

    def _splits(self) -> DatasetDict:
        hub = (self.name, self.hub, self.hub_config, self.revision)
        columns = [*self._read_columns, "label"]
        read = read_superglue(self.path, self.files, hub, self.hub_splits, columns)
        return DatasetDict({s: self._typed(self._pairs(r), self.classes) for s, r in read.items()})

    @property
    def _read_columns(self) -> Sequence[str]:
        return self.inputs

    def _pairs(self, rows: Rows) -> Rows:
        """Return the rows with the two texts, by the names in `inputs`, and the class."""
        values = [
            dict(zip(self.inputs, self._pair(rows, number), strict=True)) | {"label": _label(row)}
            for number, row in enumerate(rows.values)
        ]
        return replace(rows, values=values)

    def _pair(self, rows: Rows, number: int) -> tuple[Any, Any]:
        first, second = (rows.values[number][column] for column in self.inputs)
        return first, second


def _label(row: Mapping[str, Any]) -> str | None:
    """Return the class; None if there is none, which is refused later with its place."""
    if row["label"] is None:
        return None
    name = class_name(row["label"])
    return _SPELLINGS.get(name, name)


@TASKS.register("wic")
@dataclass(frozen=True)
class WicTask(SuperGlueTask):
    """WiC: does a word have the same meaning in two sentences?

    The word is marked by asterisks in both, as in `a political system with no *place* for them`; a
    new row for a prediction has them too.
    """

    @property
    def _read_columns(self) -> Sequence[str]:
        return [*self.inputs, "start1", "end1", "start2", "end2"]

    @property
    def layouts(self) -> Sequence[Sequence[str]]:
        """The columns of a new row with the places of the word, or with the word marked."""
        return [self._read_columns, self.inputs]

    def new_rows(self, rows: Rows) -> list[NewRow]:
        """Return new rows with the word marked in both sentences.

        Raises:
            DataError: a place is outside its sentence, or a sentence has no marked word.
        """
        if "start1" not in rows.values[0]:
            return _marked_rows(rows, self.inputs, self.inputs)
        return _paired_rows(rows, self.inputs, self._pair)

    def _pair(self, rows: Rows, number: int) -> tuple[str, str]:
        first, second = (
            self._marked(rows, number, column, side)
            for side, column in enumerate(self.inputs, start=1)
        )
        return first, second

    def _marked(self, rows: Rows, number: int, column: str, side: int) -> str:
        row = rows.values[number]
        text = rows.text(number, column)
        given = [row[f"{edge}{side}"] for edge in ("start", "end")]
        start, end = map(whole_number, given)
        if start is None or end is None or not start < end <= len(text):
            place = " to ".join(map(quote_value, given))
            raise rows.error(
                number, f"start{side}", f"{place} is not a range of characters in {column}"
            )
        return mark(text, start, end)


@TASKS.register("wsc")
@dataclass(frozen=True)
class WscTask(SuperGlueTask):
    """WSC: does a pronoun of a text refer to this noun phrase?

    The pronoun is marked by asterisks, as Raffel et al. (2020) mark it, and the second text is the
    noun phrase; a new row for a prediction has the asterisks too.
    """

    @property
    def _read_columns(self) -> Sequence[str]:
        return _WSC_HUB if self.path is None else _WSC_FILE

    @property
    def layouts(self) -> Sequence[Sequence[str]]:
        """The columns of a new row of the hub, of a file, and with the pronoun marked."""
        return [_WSC_HUB, _WSC_FILE, self.inputs]

    def new_rows(self, rows: Rows) -> list[NewRow]:
        """Return new rows with the pronoun marked in the text.

        Raises:
            DataError: the pronoun is no part of the text, or none is marked.
        """
        if self.inputs[1] in rows.values[0]:
            return _marked_rows(rows, self.inputs, self.inputs[:1])
        return _paired_rows(rows, self.inputs, self._pair)

    def _pair(self, rows: Rows, number: int) -> tuple[str, str]:
        _, noun, pronoun, index = _WSC_HUB if _WSC_HUB[1] in rows.values[number] else _WSC_FILE
        text, spoken = rows.text(number, "text"), rows.text(number, pronoun)
        given = rows.values[number][index]
        place = whole_number(given)
        if place is None:
            raise rows.error(number, index, f"{quote_value(given)} is not a whole number from 0 on")
        found = find_words(text, spoken, place)
        if found is None:
            raise rows.error(number, pronoun, f"{quote_value(spoken)} is not a part of the text")
        return mark(text, *found), rows.text(number, noun)


def _paired_rows(
    rows: Rows, inputs: Sequence[str], pair: Callable[[Rows, int], tuple[str, str]]
) -> list[NewRow]:
    numbers = range(len(rows.values))
    return [NewRow(n, dict(zip(inputs, pair(rows, n), strict=True))) for n in numbers]


def _marked_rows(rows: Rows, inputs: Sequence[str], marked: Sequence[str]) -> list[NewRow]:
    """Return rows in which the user has marked what is meant.

    Raises:
        DataError: nothing stands between asterisks in one of the columns `marked`.
    """
    for number in range(len(rows.values)):
        for column in marked:
            if _MARKED.search(rows.text(number, column)) is None:
                text = quote_value(rows.text(number, column))
                raise rows.error(number, column, f"{text} marks no word, as in a *word* of it")
    texts = [{column: rows.text(n, column) for column in inputs} for n in range(len(rows.values))]
    return [NewRow(number, columns) for number, columns in enumerate(texts)]


def mark(text: str, start: int, end: int) -> str:
    """Return a text with asterisks around the characters from `start` to before `end`."""
    return f"{text[:start]}*{text[start:end]}*{text[end:]}"


def find_words(text: str, words: str, index: int) -> tuple[int, int] | None:
    """Return where words stand in a text, first and last character, nearest to word `index`.

    The files of WSC count some words otherwise than by spaces, so that their indices may be off.

    Args:
        text: the text.
        words: one or more words; punctuation at their edges and capitals do not count.
        index: the number of the first word, counted from 0.
    """
    pieces = list(re.finditer(r"\S+", text))
    bare = [_bare(piece.group()) for piece in pieces]
    wanted = [_bare(word) for word in words.split()]
    starts = [n for n in range(len(bare)) if wanted and bare[n : n + len(wanted)] == wanted]
    if not starts:
        return None
    nearest = min(starts, key=lambda start: abs(start - index))
    return pieces[nearest].start(), pieces[nearest + len(wanted) - 1].end()


def _bare(word: str) -> str:
    return word.strip(".,;:!?\"'()[]").casefold()
