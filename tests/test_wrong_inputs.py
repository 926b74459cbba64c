"""Wrong inputs of a command: one clear line, status 2, nothing written, torch not imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sparsead import cli

TWO_ROWS = """columns: [{task: demo_mrpc, metric: accuracy}]
rows: [{name: a, overrides: [pruner=none]}, {name: b}]
"""

FILES = {
    "good.csv": "text,label\na,x\nb,y\n",
    "no_label.csv": "text,other\na,x\nb,y\n",
    "ragged.csv": "text,label\na,x\nb,y,z\n",
    "empty.csv": "",
    "list.yaml": "- a\n- b\n",
    "no_rows.yaml": "columns: [{task: mrpc, metric: accuracy}]\n",
    "bad_base.yaml": "base: tabel1\n",
    "claim.yaml": f"{TWO_ROWS}claims: [{{kind: beats, text: x, over: a, row: [b]}}]\n",
    "pairs.yaml": f"{TWO_ROWS}claims: [{{kind: keeps, text: x, pairs: [[a]]}}]\n",
    "no_backbones.yaml": f"{TWO_ROWS}backbones: []\n",
    "kind.yaml": f"{TWO_ROWS}kind: [x]\n",
    "both.yaml": (
        "columns: [{task: demo_stsb, metric: pearson}, {task: demo_stsb, metric: mae, name: b}]\n"
        "rows: [{name: a}]\naverage: true\noverrides: ['task.metrics=[pearson,mae]']\n"
    ),
    "own.yaml": (
        "columns: [{task: text, metric: accuracy, overrides: [task.train=nowhere.txt, "
        "'task.inputs=[text]', task.validation_share=0.5]}]\nrows: [{name: a}]\n"
    ),
    "mine.yaml": (
        "columns: [{task: mrpc, metric: f1}]\nrows: [{name: a, overrides: [task=rte]}]\n"
    ),
    "heads.yaml": "columns: [{task: mrpc, metric: f1, label: method}]\nrows: [{name: a}]\n",
}

DENSE = ("pruner=none", "sparsity=0")

WRONG: dict[str, Sequence[str]] = {
    # verbs and options
    "trian: no such": ["trian"],
    "did you mean --wide": ["table", "--wid"],
    "a key is typed as protocol.epochs=3": ["train", "--epochs", "3"],
    "needs a folder": ["train", "--outputs"],
    "is not a folder": ["runs", "--outputs", "nowhere"],
    "--config-dir nowhere: is not a folder": ["train", "--config-dir", "nowhere"],
    "--cfg prints the configuration of one run": ["train", "-m", "--cfg", "job", "seed=1,2"],
    # keys
    "did you mean adapter.bottleneck": ["train", "adapter.r=8"],
    "did you mean protocol.learning_rate": ["train", "lr=1e-3"],
    "did you mean protocol.patience": ["train", "early_stopping=3"],
    "did you mean task.max_length": ["train", "max_seq_length=128"],
    "protcol.epochs: no such key; did you mean protocol.epochs": ["train", "protcol.epochs=3"],
    "cannot be read as KEY=VALUE": ["train", "snip"],
    "must be a whole number": ["train", "protocol.epochs=many"],
    "protocol.epochs=0: must be at least 1": ["train", "protocol.epochs=0"],
    "protocol.learning_rate=5: must be above 0 and below 1": ["train", "protocol.learning_rate=5"],
    "protocol.batch_size=0: must be at least 1": ["train", "protocol.batch_size=0"],
    "watches the score on a held-out part": ["train", "protocol.patience=2"],
    "device=gpu: no such choice; did you mean cuda": ["train", "device=gpu"],
    "precision=fp16: no such choice; did you mean bf16": ["train", "precision=fp16"],
    "threads=none": ["train", "threads=none"],
    "there is no CUDA device here": ["train", "device=cuda"],
    "there is no GPU of Apple here": ["train", "device=mps"],
    # choices
    "did you mean houlsby": ["train", "adapter=hulsby"],
    "did you mean snip?": ["train", "pruner=snap"],
    "did you mean mrpc": ["train", "task=mprc"],
    "did you mean roberta-base": ["train", "backbone=roberta"],
    "did you mean tensorboard": ["train", "tracking=tensorbord"],
    "to sweep, use -m": ["train", "pruner=[snip,random]"],
    "the share removed must be at least 0 and below 1": ["train", "sparsity=40"],
    "pruner=none removes nothing": ["train", "pruner=none", "sparsity=0.4"],
    "nothing to control": ["train", "pruner.control=shuffle", "sparsity=0"],
    "did you mean relu": ["train", "adapter.activation=rleu"],
    "gpt2 has no query projection": ["train", "adapter=lora", "backbone=tiny-gpt2"],
    "adapter.budget=2: must be above 0": ["train", "adapter=sparse", "adapter.budget=2"],
    "takes no options": ["train", "+protocol.scheduler_options.num_cycles=2"],
    "task.max_length=999: backbone=roberta-base has positions for 512": [
        *("train", "backbone=roberta-base", "task.max_length=999"),
    ],
    "task.max_length=600: backbone=minilm has positions for 512 tokens; use": [
        *("train", "task.max_length=600"),
    ],
    "task.max_length=2000: backbone=gpt2 has positions for 1024": [
        *("train", "backbone=gpt2", "task.max_length=2000"),
    ],
    "positions for 512 tokens, and": [
        *("train", "task=demo_sums", "backbone=tiny-gpt2", "task.max_length=510"),
    ],
    "a bert has no decoder to generate text": ["train", "task=demo_xsum"],
    "a bert is not known to continue texts": ["train", "task=demo_sums"],
    "adapter.sites=attention_output: LoRA needs linear layers; choose from query, key": [
        *("train", "adapter=lora", "adapter.sites=[attention_output]"),
    ],
    "gpt2 has none at its sites": [
        *("train", "adapter=dora", "backbone=gpt2", "adapter.sites=[ffn_input]"),
    ],
    "t5 has no biases": ["train", "adapter=bitfit", "backbone=t5-base", *DENSE],
    "the attention of deberta-v2": ["train", "adapter=prefix", "backbone=deberta-v3-base"],
    "the head that generates texts is the backbone's own": [
        *("train", "adapter=head", "task=demo_xsum", "backbone=bart-large", *DENSE),
    ],
    "task.metrics=nowhere.cost: cannot be imported": ["train", "task.metrics=[nowhere.cost]"],
    "has no bottleneck": ["train", "adapter=full", "sparsity=large_sparse"],
    "adapter.bottleneck=0: must be at least 1": ["train", "adapter.bottleneck=0"],
    "task.limit=0: must be at least 1": ["train", "task.limit=0"],
    "pruner.scope=layer": ["train", "pruner.scope=layer"],
    "choose sparsity=0.5": ["train", "pruner=nm", "sparsity=0.4"],
    "adapter.sites=[]: name at least one": ["train", "adapter.sites=[]"],
    "adapter.sites=null: must be a list of texts": ["train", "adapter.sites=null"],
    "adapter.sites=query: must be a list of texts": ["train", "adapter.sites=query"],
    "adapter.sites: query is named twice": ["train", "adapter.sites=[query,query]"],
    "adapter.bottleneck=99999999999: must be at most": ["train", "adapter.bottleneck=99999999999"],
    "max_position_embeddings=[[]]: must be a whole number": [
        *("train", "backbone=tiny-bert", "backbone.architecture.max_position_embeddings=[[]]"),
    ],
    "mine: row a: task: a table's columns": ["plan", "mine.yaml"],
    # files and folders
    "outputs=good.csv: is a file": ["train", "outputs=good.csv"],
    "outputs=: is empty; name a folder": ["train", "outputs="],
    "--outputs '': is not a folder": ["runs", "outputs="],
    "nowhere: is not a folder": ["train", "task=mrpc", "task.path=nowhere"],
    "is not a model's folder": ["train", "backbone=./folder"],
    "task.train=nowhere.csv: is not a file": ["train", "task=text", "task.train=nowhere.csv"],
    "name a file, or hold out": [
        *("train", "task=text", "task.train=good.csv", "task.validation=good.csv"),
        *("task.validation_share=0.5", "task.inputs=[text]"),
    ],
    "name one or two columns of text": ["train", "task=text", "task.train=good.csv"],
    "task.files.train: no such key; did you mean task.train?": [
        *("train", "task=text", "task.files={train: good.csv}"),
    ],
    "names the column label twice": [
        "train",
        "task=text",
        "task.train=good.csv",
        "task.inputs=[label]",
    ],
    "good.csv:1: column=grade: no such choice": [
        *("train", "task=text", "task.train=good.csv", "task.validation=good.csv"),
        *("task.inputs=[text]", "task.label=grade"),
    ],
    "ragged.csv:3: number of fields: 3": [
        *("train", "task=text", "task.train=ragged.csv", "task.validation_share=0.5"),
        "task.inputs=[text]",
    ],
    # sweeps and searches
    "add -m": ["train", "jobs_per_gpu=2"],
    "jobs_per_gpu=x: must be a whole number": ["train", "-m", "jobs_per_gpu=x"],
    "seed=one: must be a whole number": ["train", "-m", "seed=1,one"],
    "search.epochs: needs search=asha": ["train", "search.epochs=[1]"],
    "protocol.max_steps=9: search=asha compares": ["train", "search=asha", "protocol.max_steps=9"],
    "protocol.selection=0: search=asha compares": [
        *("train", "-m", "search=asha", "protocol.selection=0.1,0"),
    ],
    "rerun=true: search=asha goes on": ["train", "-m", "search=asha", "seed=1,2", "rerun=true"],
    "type search.epochs=[7]": ["train", "search=asha", "protocol.epochs=7"],
    "type search.batch_size=[8]": ["train", "-m", "search=asha", "++protocol.batch_size=8,16"],
    "search.epochs=0: must be at least 1": ["train", "search=asha", "search.epochs=[0]"],
    "search.learning_rate=5: must be above 0 and below 1": [
        *("train", "search=asha", "search.learning_rate=[5]"),
    ],
    "task.train: name a CSV": ["train", "-m", "task=text", "task.inputs=[text]", "seed=1,2"],
    "there is no SLURM here": ["train", "-m", "seed=1,2", "hydra/launcher=submitit_slurm"],
    "hydra/launcher=submitit_slurm: there is no SLURM": [
        *("reproduce", "table3", "hydra/launcher=submitit_slurm"),
    ],
    "hydra/launcher=joblb: no such choice": ["reproduce", "table3", "hydra/launcher=joblb"],
    # tables
    "tabel1: no such": ["table", "tabel1"],
    "search=null: --best shows": ["table", "table1", "--best", "search=null"],
    "seeds=0: must be a whole number, from 1 to 1,000": ["plan", "table1", "seeds=0"],
    "seeds=10000000: must be a whole number": ["table", "table1", "seeds=10000000"],
    "a table uses the seeds 1 to N": ["reproduce", "table1", "seed=3"],
    "only=rows": ["reproduce", "table1", "only=rows=snip"],
    "only=row=snipp": ["reproduce", "table1", "only=row=snipp"],
    "list: ['a', 'b'] is no mapping": ["table", "list.yaml"],
    "no_rows: rows must be a list of at least one": ["plan", "no_rows.yaml"],
    "bad_base: table=tabel1: no such choice; did you mean table1": ["reproduce", "bad_base.yaml"],
    "claim 1: row=['b']: must be one name": ["table", "claim.yaml"],
    "claim 1: pairs=[['a']]: must be a list of pairs": ["plan", "pairs.yaml"],
    "backbones: the table has none": ["reproduce", "no_backbones.yaml"],
    "choose some of them with only=column=": ["table", "table3", "task=rte"],
    "choose some with only=row=": ["reproduce", "table3", "experiment=table1/snip"],
    "the rows 1 and 2 would be the same runs": ["compare", "threads=1,2"],
    "a higher score is better in some of these columns": ["reproduce", "both.yaml"],
    "task.train=nowhere.txt: is not a file": ["reproduce", "own.yaml"],
    "pruner=snip: is given twice": ["compare", "pruner=snip,random,snip"],
    "a table trains only the runs that it lacks": ["reproduce", "table3", "rerun=true"],
    "two columns have the heading method": ["table", "heads.yaml"],
    "backbone=tiny-bert: is given twice; give each backbone once": [
        *("reproduce", "table1", "backbone=tiny-bert,tiny-bert"),
    ],
    "seed: a table uses the seeds 1 to N": ["plan", "table1", "++seed=3"],
    "row snip: the runs of seed=1 and seed=2 are the same": [
        *("reproduce", "table1", "backbone=tiny-bert", "only=row=snip", "seeds=2"),
        *("seed_data=1", "seed_init=1", "seed_mask=1"),
    ],
    "rerun=true: variance trains only the runs": ["variance", "task=demo_rte", "rerun=true"],
    "hydra/launcher=joblib: variance trains one run": ["variance", "jobs_per_gpu=2", "device=cpu"],
    "++seed_data=4: the seeds are chosen here": ["variance", "++seed_data=4"],
    "~seed_mask: the seeds are chosen here": ["variance", "~seed_mask"],
    "--json: cannot be combined with --format csv": ["table", "--format", "csv", "--json"],
    "--json: cannot be combined with --format md": ["runs", "--format", "md", "--json"],
    "--quiet: cannot be combined with --json": ["train", "--quiet", "--json"],
    "protocol.scheduler_options.power=-1: must be above 0": [
        *("train", "protocol.scheduler=polynomial", "+protocol.scheduler_options.power=-1"),
    ],
    "protocol.scheduler_options.timescale=0: must be at least 1": [
        *("train", "protocol.scheduler=inverse_sqrt", "+protocol.scheduler_options.timescale=0"),
    ],
    "protocol.scheduler_options.min_lr=0.5: must be below protocol.learning_rate": [
        *(
            "train",
            "protocol.scheduler=cosine_with_min_lr",
            "+protocol.scheduler_options.min_lr=.5",
        ),
    ],
    "task.inputs=[]: name one or two columns": ["train", "task=demo_mrpc", "task.inputs=[]"],
    "task.answer_after='': must not be empty": ["train", "task=demo_sums", "task.answer_after=''"],
    "task.decimal_mark=comma: is how number_match reads numbers": [
        *("train", "task=demo_sums", "task.metrics=[exact_match]", "task.decimal_mark=comma"),
    ],
    "task.labels=['a', 'b', 'c']: the data has 2 classes": [
        *("train", "task=mrpc", "task.labels=[a,b,c]"),
    ],
    "task.hub_splits.hard=h: names a part of a data set of the hub, but": [
        *("train", "task=text", "task.train=good.csv", "task.validation=good.csv"),
        *("task.inputs=[text]", "+task.hub_splits.hard=h"),
    ],
    "task.hub_config=x: names a part of a data set of the hub, but": [
        *("train", "task=text", "task.train=good.csv", "task.validation=good.csv"),
        *("task.inputs=[text]", "task.hub_config=x"),
    ],
    "task.files.validation=good.csv: name a file, or hold out a share": [
        *("train", "task=text", "task.path=.", "task.inputs=[text]", "task.validation_share=0.1"),
        "+task.files={train: good.csv, validation: good.csv}",
    ],
    "task.hub_splits.validation=test: name a file, or hold out a share": [
        *("train", "task=text", "task.hub=owner/name", "task.inputs=[text]"),
        *("task.hub_splits.validation=test", "task.validation_share=0.1"),
    ],
    "task.files=hard-2: the name of a split has only": [
        *("train", "task=text", "task.path=.", "task.inputs=[text]"),
        "+task.files={train: good.csv, validation: good.csv, hard-2: good.csv}",
    ],
    "task.files.hard=h.csv: lies in the folder task.path": [
        *("train", "task=text", "task.train=good.csv", "task.validation=good.csv"),
        *("task.inputs=[text]", "+task.files.hard=h.csv"),
    ],
    "did you mean joblib": ["compare", "pruner=snip,random", "hydra/launcher=jobli"],
    "nowhere.yaml": ["table", "nowhere.yaml"],
    "--power 2: must be above 0 and below 1": ["plan", "table1", "--power", "2"],
    "lora cannot be inserted into backbone=tiny-gpt2": [
        *("compare", "adapter=houlsby,lora", "backbone=tiny-gpt2"),
    ],
    "give a key with several values": ["compare", "pruner=snip"],
    # runs
    "delete: comes before the filters": ["runs", "state=failed", "delete"],
    "is neither the folder of a run nor part of the name": ["show", "nothing"],
    "nothing: is neither the folder of a run": ["predict", "nothing", "--input", "good.csv"],
    "--input nowhere.csv: is not a file": ["predict", "nothing", "--input", "nowhere.csv"],
    "the name of one in outputs": ["export", "nothing", "folder"],
    "taks: no such": ["runs", "taks=mrpc"],
    "state=doen": ["runs", "state=doen"],
    "score=high: must be a number": ["runs", "score=high"],
    "without brackets": ["runs", "seed=[1,2]"],
    "runs delete: would delete all": ["runs", "delete", "--yes"],
    "nowhere.parquet: is not a file": ["table", "table1", "--records", "nowhere.parquet"],
    "is not an archive of records": ["table", "table1", "--records", "good.csv"],
    "has no finished runs": ["figure", "curves"],
    "list=adaptors: no such choice; did you mean adapters": ["list", "adaptors"],
    # kinds, and choices without their group
    "figure=bars: no such choice": ["figure", "bars"],
    "curves, figure1, figure2, figure4, masks, params, sparse, sparsity": ["figure", "line"],
    "folder: has no finished runs to draw": ["figure", "--outputs", "folder", "curves"],
    "would delete all 0 runs": ["runs", "--outputs", "folder", "delete"],
    "did you mean pruner=snip": ["train", "snipp"],
    "xyzzy: cannot be read as KEY=VALUE, such as pruner=snip": ["compare", "xyzzy"],
    "KEY=PATTERN; did you mean task=mrpc": ["map", "mrpc"],
    "or filters such as task=mrpc": ["table", "mrpc"],
    "or a filter KEY=PATTERN such as pruner=snip": ["runs", "snip"],
    "snip: is not a filter": ["runs", "delete", "snip"],
    "--power x: must be a number": ["plan", "table1", "--power", "x"],
    "--seeds 2.5: must be a whole number": ["variance", "--seeds", "2.5"],
    "runs.csv: must end in .parquet": ["runs", "pack", "runs.csv"],
    "runs.xls: suffix=.xls: no such choice": ["runs", "export", "runs.xls"],
    "--paper takes no overrides": ["params", "--paper", "seed=1"],
    "shell=bosh": ["completion", "bosh"],
}
"""What each message says → the words that are wrong."""

HEAVY = ("sparsead.train", "sparsead.assembly.trained", "sparsead.backbones.loading")
"""The modules by which the commands import torch; none of these inputs needs it to be refused."""


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import what the command line always imports."""
    from sparsead.commands import train

    assert train


@pytest.mark.parametrize("said", WRONG)
def test_a_wrong_input_is_one_line_and_nothing_is_written(
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["sparsead", *WRONG[said]])
    for module in HEAVY:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2, err
    (line,) = err.splitlines()
    assert line.startswith("sparsead: ")
    assert said in line
    assert "(allowed: )" not in line
    assert "Traceback" not in out
    assert sorted(tmp_path.rglob("*")) == before


def test_sixty_are_tried() -> None:
    assert len(WRONG) >= 60
