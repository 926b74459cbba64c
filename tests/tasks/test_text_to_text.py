from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from composing import compose
from sparsead.backbones.loading import load_backbone
from sparsead.errors import ConfigError, DataError
from sparsead.tasks.cache import encode_once
from sparsead.tasks.contract import TASKS
from sparsead.tasks.text_scores import TextScores
from sparsead.tasks.text_to_text import TextToText
from sparsead.tasks.words import rouge_tokenizer, warn_of_other_languages

TEXT = "the cats were running to a small house of stones, and a dog barked loudly."


def task(*overrides: str) -> TextToText:
    spec = compose(*overrides).task
    made = TASKS.bind(spec.method, spec.arguments())()
    assert isinstance(made, TextToText)
    return made


def texts(seed: int, count: int = 50) -> list[str]:
    draw = Random(seed)
    return [" ".join(draw.choices(TEXT.split(), k=draw.randrange(1, 12))) for _ in range(count)]


def test_rouge_is_that_of_rouge_score_with_stemming() -> None:
    predictions, references = ["", *texts(1)], ["cats", *texts(2)]
    ours = TextScores(["rouge2", "rouge1", "rougeL"]).compute(
        predictions=predictions, references=references
    )
    assert list(ours) == ["rouge2", "rouge1", "rougeL"]
    for name, value in ours.items():
        scorer = RougeScorer([name], use_stemmer=True)
        pairs = zip(references, predictions, strict=True)
        direct = [scorer.score(reference, guess)[name].fmeasure for reference, guess in pairs]
        assert value == pytest.approx(sum(direct) / len(direct), abs=1e-12)
    plain = RougeScorer(["rouge1"])
    assert plain.score("running cats", "run cat")["rouge1"].fmeasure == 0
    stemmed = TextScores(["rouge1"]).compute(predictions=["run cat"], references=["running cats"])
    assert stemmed == {"rouge1": 1}


def test_bleu_is_that_of_sacrebleu() -> None:
    predictions, references = texts(1), texts(2)
    ours = TextScores(["bleu", "chrf"]).compute(predictions=predictions, references=references)
    assert 100 * ours["bleu"] == pytest.approx(
        sacrebleu.BLEU().corpus_score(predictions, [references]).score
    )
    assert 100 * ours["chrf"] == pytest.approx(
        sacrebleu.CHRF().corpus_score(predictions, [references]).score
    )


def test_the_real_files_have_the_counts_of_their_note(data_root: Path) -> None:
    splits = task(
        "task=xsum", f"task.path={data_root / 'xsum'}", "task.generated_splits=[test]"
    ).load()
    counts = {split: len(rows) for split, rows in splits.items()}
    assert counts == {"train": 2282, "validation": 1462, "test": 5329}


def own(folder: Path, rows: list[dict[str, str]]) -> list[str]:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pairs.jsonl").write_text(text, "utf-8")
    return [f"task.{split}={folder / 'pairs.jsonl'}" for split in ("train", "validation")]


def test_source_and_target_are_encoded_cut_and_counted(tmp_path: Path) -> None:
    rows = [{"de": "aé" * 40, "en": "b"}, {"de": "a", "en": "b" * 90}, {"de": "a", "en": " "}]
    some = task(
        "task=translate",
        *own(tmp_path, rows),
        "task.columns.source=de",
        "task.columns.target=en",
        "task.prefix='to English: '",
        "task.max_length=50",
        "task.target_length=20",
    )
    tokenizer = load_backbone(compose("backbone=tiny-bart").backbone).tokenizer
    splits, report = encode_once(some, tokenizer)
    assert report["train"]["counts"] == {"target_cut": 1, "empty_text": 1, "cut": 1}
    assert report["train"]["tokens"]["longest_kept"] == 50
    whole = len(tokenizer("to English: " + rows[0]["de"])["input_ids"])
    assert report["train"]["tokens"]["max"] == whole > 100
    assert set(splits["train"].column_names) == {"input_ids", "attention_mask", "labels"}
    assert tokenizer.decode(splits["train"][1]["input_ids"]) == "<s>to English: a</s>"
    assert tokenizer.decode(splits["train"][0]["labels"]) == "<s>b</s>"
    assert max(map(len, splits["train"]["input_ids"])) == 50
    assert max(map(len, splits["train"]["labels"])) == 20
    assert splits["validation"]["reference"][:] == [row["en"] for row in rows]
    batch = some.collator(tokenizer)([splits["train"][i] for i in range(3)])
    assert batch["labels"].shape == (3, 20)
    assert (batch["labels"][0, 3:] == -100).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "broken.jsonl: has no examples"),
        (b'{"document": "x", "summary": "y"}\n{"document": "x"}', "broken.jsonl:2: column=summary"),
        (b'{"document": "x", "summary": "\xff"}', "broken.jsonl:1: byte 31 is not UTF-8"),
        (b'{"document": "x", "summary": 3}', "broken.jsonl:1: summary: 3 is not a text"),
        (b'{"document": "x"\n', "broken.jsonl:1: character"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_bytes(content)
    files = [f"task.{split}={path}" for split in ("train", "validation")]
    with pytest.raises(DataError, match=message) as caught:
        task("task=summarize", *files).load()
    assert "\n" not in str(caught.value)


def test_pairs_are_read_from_csv_by_the_names_of_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('number,text,short\n1,"a, b",c\n2,d,e\n', "utf-8")
    some = task(
        "task=summarize",
        *(f"task.{split}={path}" for split in ("train", "validation", "test")),
        "task.generated_splits=[test]",
        "task.columns={id: number, source: text, target: short}",
    )
    rows = some.load()["test"]
    assert rows[0] == {"id": "1", "source": "a, b", "target": "c"}


def test_a_duplicate_id_is_refused(tmp_path: Path) -> None:
    files = own(tmp_path, [{"key": "7", "document": "x", "summary": "y"}] * 2)
    with pytest.raises(DataError, match=r"pairs\.jsonl:2: key: '7' is also the id of line 1"):
        task("task=summarize", *files, "task.columns.id=key").load()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.metrics=[rouge3]", "did you mean rouge"),
        ("+task.generation.num_bems=2", "did you mean task.generation.num_beams"),
        ("~task.generation.max_new_tokens", "max_new_tokens: is missing"),
        ("task.generation.min_new_tokens=99", "min_new_tokens=99: is more than"),
        ("task.generated_splits=[train]", "generated_splits=train: no such choice"),
        ("task.columns.target=document", "names the column document twice"),
        ("task.generation.num_beams=0", "num_beams=0: must be at least 1"),
        ("task.generation.num_beams=two", "num_beams=two: must be int"),
        ("task.generated_splits=[]", "would have no scores"),
        ("task.generated_splits=[tests]", "did you mean test"),
    ],
)
def test_a_wrong_key_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task("task=xsum", override)


def test_a_backbone_without_a_decoder_is_refused() -> None:
    for backbone in ("minilm", "tiny-bert"):
        loaded = load_backbone(compose(f"backbone={backbone}").backbone)
        with pytest.raises(ConfigError, match=f"backbone={backbone}: a bert has no decoder"):
            loaded.check_head(TextToText.head)


LANGUAGES = {
    "Hebrew": "הילדים הלכו אל הבית",
    "Russian": "дети пошли домой вечером",
    "Hindi": "बच्चे शाम को घर गए",
    "Chinese": "孩子们晚上回家了",
    "Thai": "เด็กๆกลับบ้านตอนเย็น",
    "Arabic": "ذهب الأطفال إلى المنزل",
    "Greek": "Τα παιδιά πήγαν σπίτι",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_rouge_of_equal_texts_is_one_in_every_language(language: str) -> None:
    text = LANGUAGES[language]
    metrics = TextScores(["rouge1", "rouge2", "rougeL"], {"rouge": "unicode"})
    equal = metrics.compute(predictions=[text], references=[f"\u200f{text}."])
    assert equal == {"rouge1": 1, "rouge2": 1, "rougeL": 1}
    half = metrics.compute(predictions=[text[: len(text) // 2]], references=[text])
    other = metrics.compute(predictions=["another text"], references=[text])
    assert 0 < half["rouge1"] < 1
    assert other["rouge1"] == 0


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_texts_of_ascii_have_the_same_words_with_either_tokenizer(text: str) -> None:
    assert rouge_tokenizer("unicode").tokenize(text) == rouge_tokenizer("english").tokenize(text)


@given(st.text(max_size=40), st.text(max_size=40))
def test_rouge_of_any_texts_is_a_share(prediction: str, reference: str) -> None:
    metrics = TextScores(["rouge1", "rougeL"], {"rouge": "unicode"})
    scores = metrics.each([prediction, reference], [reference, reference])
    assert all(0 <= value <= 1 for values in scores.values() for value in values)


def test_the_words_of_an_accent_are_the_same_however_it_is_encoded() -> None:
    tokens = rouge_tokenizer("unicode")
    assert tokens.tokenize("Caf\u00e9s") == tokens.tokenize("Cafe\u0301s") == ["caf\u00e9s"]


def test_bleu_of_equal_chinese_texts_needs_the_tokenizer_of_chinese() -> None:
    text = [LANGUAGES["Chinese"]]
    assert TextScores(["bleu"]).compute(predictions=text, references=text)["bleu"] < 0.1
    chinese = TextScores(["bleu"], {"bleu": "zh"})
    assert chinese.compute(predictions=text, references=text)["bleu"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("language", "overrides", "words"),
    [
        ("Russian", [], "rouge leaves out 100 %"),
        ("Russian", ["task.scoring_tokenizers.rouge=unicode"], None),
        ("Chinese", ["task.metrics=[bleu]"], "scoring_tokenizers.bleu=zh"),
        ("Chinese", ["task.metrics=[chrf]"], None),
        ("Russian", ["task.metrics=[bleu]"], None),
    ],
)
def test_texts_of_other_languages_are_warned_of_before_training(
    tmp_path: Path,
    language: str,
    overrides: list[str],
    words: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"document": LANGUAGES[language], "summary": LANGUAGES[language]}
    path.write_text(json.dumps(row), "utf-8")
    files = [f"task.{split}={path}" for split in ("train", "validation")]
    with caplog.at_level("WARNING"):
        task("task=summarize", *files, *overrides).load()
    assert (words in caplog.text) if words else not caplog.text


@pytest.mark.parametrize("rouge", ["english", "unicode"])
def test_texts_without_words_are_warned_of(rouge: str, caplog: pytest.LogCaptureFixture) -> None:
    tokenizers = {"rouge": rouge, "bleu": "13a"}
    with caplog.at_level("WARNING"):
        warn_of_other_languages("task", ["rouge1"], tokenizers, ["a cat", "😀 🎉", ""])
    assert "rouge finds no word in 1 of 3 true texts, such as '😀 🎉', and scores" in caplog.text
    caplog.clear()
    warn_of_other_languages("task", ["chrf"], tokenizers, ["😀"])
    warn_of_other_languages("task", ["rouge1"], tokenizers, ["a cat"])
    assert not caplog.text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.scoring_tokenizers.rouge=unicod", "did you mean unicode"),
        ("task.scoring_tokenizers.bleu=ja-mecab", "no such choice"),
        ("+task.scoring_tokenizers.rogue=unicode", "did you mean task.scoring_tokenizers.rouge"),
    ],
)
def test_an_unknown_tokenizer_of_the_scores_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task("task=summarize", override)
