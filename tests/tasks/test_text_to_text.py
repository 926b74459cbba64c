from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from composing import compose
from sparsead.backbones.loading import load_backbone
from sparsead.errors import ConfigError, DataError
from sparsead.tasks.cache import encode_once
from sparsead.tasks.contract import TASKS
from sparsead.tasks.text_scores import TextScores
from sparsead.tasks.text_to_text import TextToText

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


def test_source_and_target_are_encoded_cut_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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
    with caplog.at_level("INFO"):
        splits, report = encode_once(some, tokenizer)
    assert "longest kept 50; 1 target cut; 1 empty text; 1 cut" in caplog.text
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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.metrics=[rouge3]", "did you mean rouge"),
        ("+task.generation.num_bems=2", "did you mean task.generation.num_beams"),
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
