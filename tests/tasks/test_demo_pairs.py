import re

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from sparsead.tasks.demo_pairs import paraphrase_pairs

SIZES = {"train": 2400, "validation": 400}
BAG_OF_WORDS_BOUND = 0.65

Row = dict[str, str | int]


def texts(rows: list[Row], column: str) -> list[str]:
    return [str(row[column]) for row in rows]


def labels(rows: list[Row]) -> np.ndarray:
    return np.array([row["label"] for row in rows])


def words(sentence: str) -> set[str]:
    return set(re.findall(r"\w+", sentence.lower()))


def jaccard(row: Row) -> float:
    first, second = words(str(row["sentence1"])), words(str(row["sentence2"]))
    return len(first & second) / len(first | second)


def overlap_features(rows: list[Row]) -> np.ndarray:
    first, second = (
        np.array([len(text.split()) for text in texts(rows, f"sentence{i}")]) for i in (1, 2)
    )
    overlap = np.array([jaccard(row) for row in rows])
    return np.column_stack([overlap, first, second, np.abs(first - second)])


def bag_of_words(rows: list[Row], vectorizer: CountVectorizer, variant: str) -> sparse.csr_matrix:
    first, second = (vectorizer.transform(texts(rows, f"sentence{i}")) for i in (1, 2))
    parts = {
        "concatenation": [first, second],
        "difference": [abs(first - second)],
        "product": [first.multiply(second)],
        "overlap": [sparse.csr_matrix(overlap_features(rows))],
    }
    parts["all"] = [block for blocks in list(parts.values()) for block in blocks]
    return sparse.hstack(parts[variant]).tocsr()


@pytest.fixture(scope="module")
def train() -> list[Row]:
    return paraphrase_pairs("train")


@pytest.fixture(scope="module")
def validation() -> list[Row]:
    return paraphrase_pairs("validation")


@pytest.mark.parametrize("split", SIZES)
def test_rows_are_the_same_on_every_call(split: str) -> None:
    assert paraphrase_pairs(split) == paraphrase_pairs(split)


@pytest.mark.parametrize("split", SIZES)
def test_size_and_schema(split: str) -> None:
    rows = paraphrase_pairs(split)
    assert [row["idx"] for row in rows] == list(range(SIZES[split]))
    assert {tuple(row) for row in rows} == {("sentence1", "sentence2", "label", "idx")}
    assert {row["label"] for row in rows} == {0, 1}


def test_unknown_split() -> None:
    with pytest.raises(ValueError, match="test"):
        paraphrase_pairs("test")


@pytest.mark.parametrize("split", SIZES)
def test_class_balance(split: str) -> None:
    assert 0.5 <= labels(paraphrase_pairs(split)).mean() <= 0.6


@pytest.mark.parametrize("split", SIZES)
def test_sentences_are_plain_text_of_news_length(split: str) -> None:
    rows = paraphrase_pairs(split)
    for sentence in texts(rows, "sentence1") + texts(rows, "sentence2"):
        assert re.fullmatch(r"[A-Z0-9][A-Za-z0-9 ,.'-]+\.", sentence)
        assert 8 <= len(sentence.split()) <= 25


def test_no_sentence_occurs_twice(train: list[Row], validation: list[Row]) -> None:
    rows = train + validation
    sentences = texts(rows, "sentence1") + texts(rows, "sentence2")
    assert len(set(sentences)) == len(sentences)


def test_word_overlap_is_matched_between_classes(train: list[Row]) -> None:
    means = [np.mean([jaccard(row) for row in train if row["label"] == k]) for k in (0, 1)]
    assert abs(means[0] - means[1]) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["concatenation", "difference", "product", "overlap", "all"])
def test_bag_of_words_stays_near_chance(
    variant: str, train: list[Row], validation: list[Row]
) -> None:
    vectorizer = CountVectorizer().fit(texts(train, "sentence1") + texts(train, "sentence2"))
    model = LogisticRegression(C=0.1, max_iter=2000)
    model.fit(bag_of_words(train, vectorizer, variant), labels(train))
    accuracy = model.score(bag_of_words(validation, vectorizer, variant), labels(validation))
    assert accuracy < BAG_OF_WORDS_BOUND
