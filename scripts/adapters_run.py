"""A whole run of MRPC with the trainer of the package `adapters`.

`bench_run.py` starts this script in the environment of that package. The only argument is a JSON
object with the settings; the script prints a JSON object with the accuracy after the last epoch.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from train_peers import plain_model
from transformers import AutoTokenizer, DataCollatorWithPadding, TrainingArguments

import adapters


def main() -> None:
    setup = json.loads(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(setup["backbone"]["folder"])
    model = plain_model(setup["backbone"])
    adapters.init(model)
    reduction = model.config.hidden_size / setup["bottleneck"]
    model.add_adapter("bench", config=f"double_seq_bn[reduction_factor={reduction}]")
    model.train_adapter("bench")
    rows = {
        split: encode(tokenizer, Path(setup[split]), setup) for split in ("train", "validation")
    }
    trainer = adapters.AdapterTrainer(
        model=model,
        args=arguments(setup),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
    )
    trainer.train()
    model.save_adapter(setup["output"], "bench")
    scores = [entry for entry in trainer.state.log_history if "eval_accuracy" in entry]
    print(json.dumps({"accuracy": scores[-1]["eval_accuracy"]}))


def encode(tokenizer: Any, file: Path, setup: dict[str, Any]) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8-sig", newline="\n") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = rows[: setup["limit"]]
    first, second = ([row[f"#{number} String"] for row in rows] for number in (1, 2))
    encoded = tokenizer(first, second, truncation=True, max_length=setup["max_length"])
    return [
        {name: encoded[name][index] for name in encoded} | {"labels": int(row["Quality"])}
        for index, row in enumerate(rows)
    ]


def arguments(setup: dict[str, Any]) -> TrainingArguments:
    """Return the protocol of our run, with which this one is compared."""
    protocol = setup["protocol"]
    return TrainingArguments(
        output_dir=setup["output"],
        num_train_epochs=protocol["epochs"],
        per_device_train_batch_size=protocol["batch_size"],
        per_device_eval_batch_size=protocol["eval_batch_size"],
        learning_rate=protocol["learning_rate"],
        weight_decay=protocol["weight_decay"],
        adam_beta1=protocol["betas"][0],
        adam_beta2=protocol["betas"][1],
        max_grad_norm=protocol["max_grad_norm"],
        warmup_ratio=protocol["warmup"],
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        report_to=[],
        disable_tqdm=True,
        seed=setup["seed"],
        use_cpu=setup["device"] == "cpu",
        group_by_length=setup["grouped"],
        bf16=setup["bf16"],
    )


def accuracy(output: Any) -> dict[str, float]:
    return {"accuracy": float((output.predictions.argmax(-1) == output.label_ids).mean())}


if __name__ == "__main__":
    main()
