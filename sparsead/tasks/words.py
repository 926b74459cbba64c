"""The words that ROUGE and BLEU compare: of English by default, or of any language."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Protocol

import regex

log = logging.getLogger(__name__)

ENGLISH: Mapping[str, str] = {"rouge": "english", "bleu": "13a"}
"""The tokenizers of rouge_score and of sacreBLEU by default, with which papers report English."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = regex.compile(rf"[{_UNSPACED}]\p{{M}}*|(?:(?![{_UNSPACED}])[\p{{L}}\p{{M}}\p{{N}}])+")
_ENGLISH_WORD = regex.compile("[A-Za-z0-9]")
_UNSEEN = regex.compile(r"\p{Cf}")
_SHARE = 0.01
"""Texts with fewer letters of other scripts than this share are taken as English with names."""


class Tokenizer(Protocol):
    """What rouge_score asks for words."""

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text, in their order."""


def rouge_tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer `english` or `unicode` for rouge_score."""
    from rouge_score.tokenizers import DefaultTokenizer  # imports nltk; only texts need it

    english: Tokenizer = DefaultTokenizer(use_stemmer=True)
    return english if name == "english" else UnicodeTokenizer(english)


class UnicodeTokenizer:
    """Words of any script: letters, marks and digits in a row, in lower case.

    In scripts without spaces between words each character is a word. Characters that are not seen,
    such as marks of the writing direction, do not count, nor does how an accent is encoded. Words
    of the letters a to z are stemmed as in English: texts of ASCII have the same words in both.
    """

    def __init__(self, english: Tokenizer) -> None:
        """Take the tokenizer that stems English words."""
        self._english = english

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text, in their order."""
        seen = _UNSEEN.sub("", unicodedata.normalize("NFC", text)).lower()
        words = _WORD.findall(seen)
        return [
            each
            for word in words
            for each in (self._english.tokenize(word) if word.isascii() else [word])
        ]


def warn_of_other_languages(
    key: str, metrics: Sequence[str], tokenizers: Mapping[str, str], texts: Sequence[str]
) -> None:
    """Warn if metrics leave out letters of the true texts, or take whole sentences as words.

    Args:
        key: configuration key of `tokenizers`, for the message.
        metrics: their names.
        tokenizers: of `rouge` and `bleu`.
        texts: the true texts that are scored.
    """
    whole = "".join(texts)
    letters = sum(map(str.isalpha, whole))
    has_rouge = any(name.startswith("rouge") for name in metrics)
    if has_rouge:
        _warn_of_no_words(tokenizers["rouge"], texts)
    if tokenizers["rouge"] == "english" and has_rouge:
        foreign = sum(map(str.isalpha, regex.sub(r"\p{ASCII}+", "", whole)))
        if foreign > _SHARE * letters:
            log.warning(
                "rouge leaves out %.0f %% of the true texts' letters, all but a to z: set "
                "%s.rouge=unicode",
                100 * foreign / letters,
                key,
            )
    if tokenizers["bleu"] in ("13a", "intl") and "bleu" in metrics and has_few_spaces(whole):
        log.warning(
            "bleu splits texts into words at spaces, and the true texts have few spaces: set "
            "%s.bleu=zh for Chinese, or char",
            key,
        )


def has_few_spaces(text: str) -> bool:
    """Tell whether more of a text than some names is in scripts without spaces between words."""
    unspaced = len(regex.findall(f"[{_UNSPACED}]", text))
    return unspaced > _SHARE * sum(map(str.isalpha, text))


def _warn_of_no_words(tokenizer: str, texts: Sequence[str]) -> None:
    """Warn of texts of symbols alone, such as emoji: even equal ones are scored 0."""
    word = _ENGLISH_WORD if tokenizer == "english" else _WORD
    without = [text for text in texts if text.strip() and not word.search(text)]
    if without and not any(map(str.isalpha, "".join(without))):
        log.warning(
            "rouge finds no word in %d of %d true texts, such as %r, and scores them 0",
            len(without),
            len(texts),
            without[0][:20],
        )
