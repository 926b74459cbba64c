from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
import yaml

from composing import compose
from exhaustive import choose
from sparsead.config.overrides import expand
from sparsead.errors import ConfigError
from sparsead.runs.checked import write_checksummed
from sparsead.runs.identity import compute_identity
from sparsead.tables.cells import AVERAGE, TableSpec, list_cells
from sparsead.tables.composed import CACHE_FILE, compose_all, forget_compositions
from sparsead.tables.files import load_table

TABLES = Path(__file__).resolve().parents[2] / "conf" / "table"
SNIP: dict[str, object] = {"experiment": "table1/snip"}
SMALL = ("backbone=tiny-bert", "only=column=mrpc,rte")


@pytest.mark.parametrize("file", sorted(TABLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_table_is_whole(file: Path) -> None:
    table = load_table(file.stem)
    assert table == load_table(str(file))
    names = [row.name for row in table.rows]
    assert len(set(names)) == len(names)
    for row in table.rows:
        for entry in row.published:
            assert set(entry.scores) <= {"avg", *(column.name for column in table.columns)}
    for claim in table.claims:
        named = [claim.get(key) for key in ("row", "over", "of", "than") if key in claim]
        named += [
            *claim.get("rows", ()),
            *(name for pair in claim.get("pairs", ()) for name in pair),
        ]
        assert set(named) <= set(names)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table1", "table3", "figure2"])
def test_a_table_asks_for_the_runs_that_its_overrides_name(name: str) -> None:
    wanted = list_cells(load_table(name, [*SMALL, "seeds=2", "task.limit=8"]))
    assert len({compute_identity(cell.spec) for cell in wanted}) == len(wanted)
    for cell in wanted[:: max(1, len(wanted) // 5)]:
        assert compute_identity(compose(*expand(cell.overrides))) == compute_identity(cell.spec)


def test_only_some_rows_leave_out_the_claims_about_others() -> None:
    table = load_table("controls", ["only=row=adapter,pruned-40,random-40"])
    assert [claim["text"] for claim in table.claims] == ["SNIP beats random pruning at 40 %"]
    assert load_table("controls", ["only=row=*"]).claims == load_table("controls").claims


def test_only_some_rows_say_that_the_corrections_count_no_others() -> None:
    whole = load_table("controls")
    some = load_table("controls", ["only=row=adapter,pruned-*,random-*"])
    assert [note for note in some.notes if note not in whole.notes] == [
        "Shown by only=row: 2 of the table's 4 comparisons and 2 of its 10 claims; the corrections "
        "count no others."
    ]
    assert load_table("controls", ["only=row=*"]).notes == whole.notes
    again = load_table("controls", ["only=row=adapter,pruned-*,random-*", "only=row=ad*,*-40"])
    assert [note for note in again.notes if note not in whole.notes] == [
        "Shown by only=row: 1 of the table's 4 comparisons and 1 of its 10 claims; the corrections "
        "count no others."
    ]


def test_only_some_columns_say_that_the_corrections_count_no_others() -> None:
    tested = load_table("controls", ["tested=all"])
    some = load_table("controls", ["tested=all", "only=column=mrpc,rte", "only=row=adapter,*-40"])
    assert [note for note in some.notes if note not in tested.notes] == [
        "Shown by only=row and only=column: 3 of the table's 20 comparisons and 5 of its 10 "
        "claims; the corrections count no others."
    ]
    # Only the average is tested, and it is there as before.
    assert load_table("controls", ["only=column=mrpc,rte"]).notes == load_table("controls").notes


@pytest.mark.parametrize("name", ['"bert-base"', "'bert-base'", "bert-base"])
def test_quotes_around_a_table_s_own_values_do_not_count(name: str) -> None:
    changes = [f"backbone={name},minilm", "only=row='snip',random", 'seeds="3"']
    table = load_table("table1", changes)
    assert table.backbones == ["bert-base", "minilm"]
    assert ([row.name for row in table.rows], table.seeds) == (["random", "snip"], 3)


@pytest.mark.slow
def test_a_plain_sweep_asks_for_the_same_runs() -> None:
    (sweep,) = expand(["experiment=glob(table3/*)"])
    experiments = sweep.partition("=")[2].split(",")
    tasks, seeds = choose(("mrpc", "rte"), ["rte"]), choose((1, 2), [2])
    plain = {
        compute_identity(compose(f"experiment={e}", f"task={t}", f"seed={s}", "backbone=tiny-bert"))
        for e, t, s in product(experiments, tasks, seeds)
    }
    assert plain == {
        compute_identity(cell.spec)
        for cell in list_cells(load_table("table3", [*SMALL, "seeds=2"]))
        if cell.column in tasks and cell.seed in seeds
    }


@pytest.mark.slow
def test_large_sparse_has_the_budget_of_the_dense_row() -> None:
    wanted = list_cells(load_table("table3", [*SMALL, "seeds=1", "only=row=ls*,adapter"]))
    for spec in (cell.spec for cell in wanted):
        assert spec.adapter.options["bottleneck"] * (1 - spec.sparsity) == pytest.approx(64)


def test_full_fine_tuning_keeps_its_own_learning_rate_unless_asked() -> None:
    row = "only=row=fine-tune"
    (own, *_) = list_cells(load_table("table1", [*SMALL, row]))
    assert own.spec.protocol.learning_rate == 5e-5
    (asked, *_) = list_cells(load_table("table1", [*SMALL, row, "protocol.learning_rate=5e-4"]))
    assert asked.spec.protocol.learning_rate == 5e-4


def test_a_backbone_not_in_the_paper_is_shown_what_it_printed_for_another() -> None:
    row = load_table("table1").rows[0]
    printed, of_another = row.published_for("bert-base"), row.published_for("minilm")
    assert printed is not None
    assert printed.scores["avg"] == 74.5
    assert of_another is not None
    assert of_another.backbone == "roberta-base"


@pytest.mark.slow
def test_compositions_are_remembered_and_a_damaged_memory_is_not_believed(tmp_path: Path) -> None:
    changes = [*SMALL, "seeds=1", f"outputs={tmp_path}", "only=row=ls*"]
    first = list_cells(load_table("table3", changes))
    assert list_cells(load_table("table3", changes)) == first
    forget_compositions()
    assert list_cells(load_table("table3", changes)) == first
    (tmp_path / CACHE_FILE).write_text("{")
    forget_compositions()
    assert list_cells(load_table("table3", changes)) == first


def test_a_flipped_bit_of_remembered_compositions_changes_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["backbone=tiny-bert", "adapter.bottleneck=4", f"outputs={tmp_path}"]
    (first,) = compose_all([overrides])
    whole = (tmp_path / CACHE_FILE).read_bytes()
    at = whole.index(b'"bottleneck": 4') + len('"bottleneck": ')
    (tmp_path / CACHE_FILE).write_bytes(whole[:at] + b"5" + whole[at + 1 :])
    forget_compositions()
    assert compose_all([overrides]) == [first]
    assert "composed.json: was altered" in capsys.readouterr().err
    assert (tmp_path / CACHE_FILE).read_bytes() == whole


def test_remembered_compositions_name_no_code_of_a_stranger(tmp_path: Path) -> None:
    overrides = ["backbone=tiny-bert", f"outputs={tmp_path}"]
    (first,) = compose_all([overrides])
    content = json.loads((tmp_path / CACHE_FILE).read_text())
    del content["sha256"]
    (entry,) = content["runs"].values()
    entry["spec"]["adapter"]["method"] = "strangers.Adapter"
    write_checksummed(tmp_path / CACHE_FILE, content)
    forget_compositions()
    assert compose_all([overrides]) == [first]
    assert "strangers" not in (tmp_path / CACHE_FILE).read_text()


@pytest.mark.slow
def test_a_key_of_the_protocol_changes_every_cell() -> None:
    changes = ["only=column=mrpc", "protocol.epochs=3", "protocol.learning_rate=1e-4"]
    protocols = [cell.spec.protocol for cell in list_cells(load_table("table3", changes))]
    assert {(protocol.epochs, protocol.learning_rate) for protocol in protocols} == {(3, 1e-4)}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["seed=1"], "how many with seeds=N"),
        (["sedes=2"], "did you mean seeds"),
        (["protocol.epoch=2"], "did you mean protocol.epochs"),
        (["seeds=0"], "seeds=0: must be a whole number"),
        (["only=row=lz9"], "only=row=lz9"),
        (["only=row=adapter,column=rte"], "only=row=column=rte"),
        (["only=colour=red"], "allowed: column, row"),
        (["backbone=tinny-bert"], "did you mean tiny-bert"),
        (["task.limt=8"], "did you mean task.limit"),
        ([f"seeds={5000 * '9'}"], "must be a whole number"),
        (["pruner=none"], "pruner: the row fine-tune of table3 decides it"),
        (["adapter=lora"], "the rows .* and .* would be the same runs in mrpc"),
    ],
)
def test_a_wrong_change_is_named(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        list_cells(load_table("table3", ["only=column=mrpc", *overrides]))


def test_an_override_of_what_a_row_says_is_refused_where_the_row_is_shown() -> None:
    shown = ["only=column=mrpc", "only=row=adapter,pruned-40", "seeds=1"]
    with pytest.raises(ConfigError, match=r"sparsity: the row adapter of controls decides it"):
        load_table("controls", [*shown, "sparsity.ratio=0.6"])
    with pytest.raises(ConfigError, match=r"sparsity: the row pruned-80 .* with base: controls"):
        load_table("controls", ["only=row=*-80", "sparsity=0.6"])
    with pytest.raises(ConfigError, match="pruner: the row adapter of controls decides it"):
        load_table("controls", [*shown, "pruner=snip"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": []}, "rows must be a list"),
        ({"rows": [{"name": False, "label": "x"}]}, "row 1: name=false: .*YAML reads no, yes"),
        ({"comparisons": [True]}, "comparisons=true: must be a text; YAML reads"),
        ({"basline": "x"}, "did you mean baseline"),
        ({"baseline": "dense"}, "baseline=dense"),
        ({"seeds": "many"}, "seeds=many"),
        ({"notes": [{"a": 1}]}, "notes=.*: must be a list of texts"),
        ({"backbones": [None]}, "backbones=.None.: must be a list of texts"),
        ({"overrides": ["+seed=3"]}, "mine: overrides: seed: a table uses the seeds"),
        ({"rows": [SNIP | {"overrides": "task=rte"}]}, "row snip: task: a table's columns"),
        ({"rows": [SNIP | {"overrides": "backbone=x"}]}, "row snip: backbone: the table's key"),
        (
            {"rows": [SNIP | {"overrides": "outputs=elsewhere"}]},
            "row snip: outputs: is no key of a table's file; type outputs=… in the command",
        ),
        ({"overrides": ["hydra.run.dir=x"]}, "mine: overrides: hydra.run.dir: is no key of a"),
        ({"search": "grid"}, "mine: search: is no key of a table's file"),
        (
            {"columns": [{"task": "mrpc", "metric": "acuracy"}]},
            "column mrpc: .*did you mean accuracy",
        ),
        ({"rows": [{"experiment": "table1/snop"}]}, "table1/snop"),
        ({"rows": [SNIP, 3]}, "mine: row 2: 3 is no mapping"),
        ({"rows": [SNIP, SNIP]}, "mine: two rows are named snip"),
        ({"rows": [SNIP, {}]}, "mine: row 2: has neither name, nor experiment, nor label"),
        ({"rows": [SNIP | {"lable": "S"}]}, "mine: row 1: lable: .*did you mean label"),
        ({"rows": [SNIP | {"overrides": 3}]}, "mine: row 1: overrides=3: must be a list"),
        ({"rows": [SNIP | {"sources": "snip"}]}, "mine: sources=snip: no such choice"),
        ({"rows": [SNIP | {"published": 3}]}, "mine: row 1: published: 3 is no mapping"),
        (
            {"rows": [SNIP | {"published": {"any": {"scores": {"avg": "high"}}}}]},
            "mine: row 1: published.any: scores={'avg': 'high'}: must be a mapping of numbers",
        ),
        ({"columns": [{"task": "mrpc"}]}, "mine: column 1: metric: is missing"),
        ({"claims": ["it gains"]}, "mine: claims=.*: must be a list of mappings"),
        ({"average": 3}, "mine: average=3: must be a list"),
        ({"average": "mrcp"}, "mine: average=mrcp: .*did you mean mrpc"),
        ({"comparisons": None}, "mine: comparisons=null: must be a list"),
        ({"title": "${seed"}, "mine: title=.*must be a text"),
        ({"seeds": "${name}"}, "mine: seeds: .*could not be converted to Integer"),
        ({"name": "../../x"}, "mine: name=../../x: a name has only .*did you mean x"),
        ({"name": ".hidden"}, "mine: name=.hidden: a name has only .*did you mean hidden"),
    ],
)
def test_a_wrong_table_of_the_users_own_is_named(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    values = {
        "backbones": "tiny-bert",
        "rows": [{"experiment": "table1/snip"}],
        "columns": [{"name": "mrpc", "task": "demo_mrpc", "metric": "accuracy"}],
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(values | change))
    with pytest.raises(ConfigError, match=words):
        list_cells(load_table(str(file)))


def test_the_short_forms_of_a_table_mean_the_long_ones(tmp_path: Path) -> None:
    columns = [{"task": "demo_mrpc", "metric": m, "name": m} for m in ("accuracy", "f1")]
    override = "protocol.batch_size=${protocol.epochs}"
    short = {
        "backbones": "tiny-bert",
        "columns": columns,
        "rows": [
            SNIP | {"overrides": override, "published": {"any": {"params": 2}}},
            {"label": "Dense"},
        ],
        "average": True,
        "baseline": "Dense",
        "comparisons": "snip",
    }
    long = short | {
        "name": "short",
        "title": "short",
        "backbones": ["tiny-bert"],
        "columns": [column | {"label": column["name"]} for column in columns],
        "rows": [
            SNIP
            | {"name": "snip", "label": "snip", "overrides": [override]}
            | {"published": {"any": {"params": {"avg": 2.0}, "scores": {}}}},
            {"name": "Dense", "label": "Dense", "overrides": []},
        ],
        "average": ["accuracy", "f1"],
        "comparisons": ["snip"],
    }
    for name, values in (("short", short), ("long", long)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    table = load_table(str(tmp_path / "short.yaml"))
    assert table == load_table(str(tmp_path / "long.yaml"))
    assert (
        list_cells(table)[0].spec.protocol.batch_size == list_cells(table)[0].spec.protocol.epochs
    )


def test_a_column_may_be_of_a_split_beside_validation(tmp_path: Path) -> None:
    values = {
        "backbones": "tiny-bert",
        "rows": [{"experiment": "table1/snip"}],
        "columns": [{"task": "mnli", "metric": "mismatched_accuracy"}],
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(values))
    assert list_cells(load_table(str(file)))


BASED = """\
base: table3
backbones: [minilm]
seeds: 2
rows:
  adapter: {label: "Adapter, r=48", overrides: adapter.bottleneck=48}
  ls4x: {overrides: [adapter.bottleneck=48]}
"""


def test_a_table_based_on_another_says_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(BASED)
    small, base = load_table(str(tmp_path / "small.yaml")), load_table("table3")
    assert (small.name, small.title, small.backbones, small.seeds) == (
        *("small", base.title),
        *(["minilm"], 2),
    )
    assert [row.name for row in small.rows] == [row.name for row in base.rows]
    assert small.claims == base.claims
    own = ["only=column=mrpc", "only=row=fine-tune,adapter,ls*"]
    sizes = {
        cell.row: cell.spec.adapter.options.get("bottleneck")
        for cell in list_cells(load_table(str(tmp_path / "small.yaml"), own))
    }
    assert sizes == {"fine-tune": None, "adapter": 48, "ls2x": 128, "ls3x": 192, "ls4x": 192}
    labels = {row.name: row.label for row in small.rows}
    assert (labels["adapter"], labels["ls4x"]) == ("Adapter, r=48", "LS 4×, r=256, 75 %")
    assert small.rows[1].published == base.rows[1].published


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: tabel3", "did you mean table3"),
        ("base: table3\nrows: {ls5x: {label: x}}", "rows=ls5x"),
        ("base: table3\nrows: [ls4x]", "is no mapping"),
        ("base: table3\nrows: {ls4x: 5}", "row ls4x: 5 is no mapping"),
        ("base: table3\nrows: {ls4x: {overrides: 5}}", "overrides=5: must be a list"),
        ("base: OTHER", "is itself based on table3"),
    ],
)
def test_a_wrong_change_of_a_base_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "other.yaml").write_text("base: table3\n")
    file = tmp_path / "small.yaml"
    file.write_text(text.replace("OTHER", str(tmp_path / "other.yaml")))
    with pytest.raises(ConfigError) as caught:
        load_table(str(file))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def published_average(table: TableSpec, row: str, backbone: str) -> float | None:
    (found,) = (each for each in table.rows if each.name == row)
    printed = found.published_for(backbone)
    return None if printed is None else printed.scores.get(AVERAGE)


def test_the_papers_average_is_of_the_columns_that_are_averaged() -> None:
    whole, part = load_table("table1"), load_table("table1", ["only=column=mrpc,stsb"])
    assert published_average(whole, "snip", "roberta-base") == 78.6
    assert published_average(part, "snip", "roberta-base") == pytest.approx((87.6 + 90.3) / 2)
    assert part.notes == [*whole.notes, "avg: of MRPC, STS-B alone, also in the paper's numbers."]
    single = load_table("table1", ["only=column=mrpc,stsb", "only=column=mrpc"])
    assert single.notes == [*whole.notes, "avg: of MRPC alone, also in the paper's numbers."]
    assert load_table("controls", ["only=column=mrpc"]).notes == []  # the paper has no such table
    unprinted = load_table("table2", ["only=column=mrpc,squad"])  # the paper prints GLUE's alone
    assert published_average(unprinted, "s40", "roberta-base") is None
    glue = load_table("table2", ["only=column=cola,mrpc,stsb,rte"])
    assert not [note for note in glue.notes if note.startswith("avg:")]


def test_claims_about_columns_that_are_left_out_are_left_out() -> None:
    claims = load_table("figure2", ["only=column=mrpc"]).claims
    assert {claim["column"] for claim in claims} == {AVERAGE, "mrpc"}


def test_a_table_based_on_another_may_have_other_columns(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    columns = "columns: [{task: mrpc, metric: f1}, {task: qnli, metric: accuracy}]"
    file.write_text(f"base: figure2\n{columns}\n")
    table = load_table(str(file))
    assert table.average == ["mrpc", "qnli"]
    assert {claim["column"] for claim in table.claims} == {AVERAGE, "mrpc"}
    claim = "{text: x, kind: beats, row: snip-20, over: adapter, column: rte}"
    file.write_text(f"base: figure2\n{columns}\nclaims: [{claim}]\n")
    with pytest.raises(ConfigError, match="claim 1: column=rte: no such choice"):
        load_table(str(file))


def test_a_row_has_no_runs_in_a_column_that_it_leaves_out(tmp_path: Path) -> None:
    columns = [{"task": task, "metric": "accuracy"} for task in ("mrpc", "rte")]
    rows = [{**SNIP, "not_run": {"rte": "too small"}}, {"experiment": "table1/adapter"}]
    values = {"rows": rows, "columns": columns, "backbones": ["tiny-bert"], "seeds": 1}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(values), "utf-8")
    places = {(cell.row, cell.column) for cell in list_cells(load_table(str(file)))}
    assert places == {("snip", "mrpc"), ("adapter", "mrpc"), ("adapter", "rte")}
    assert not list_cells(load_table(str(file), ["only=column=rte", "only=row=snip"]))
    based = {"base": str(file), "columns": columns[:1]}
    (tmp_path / "based.yaml").write_text(yaml.safe_dump(based), "utf-8")
    assert [row.not_run for row in load_table(str(tmp_path / "based.yaml")).rows] == [{}, {}]
    slip = {**SNIP, "not_run": {"rto": "a slip"}}
    file.write_text(yaml.safe_dump({**values, "rows": [slip]}), "utf-8")
    with pytest.raises(ConfigError, match="not_run=rto: no such choice; did you mean rte"):
        load_table(str(file))
