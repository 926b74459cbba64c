"""Whole commands through the console script: the user's mistakes, and flags."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import sparsead as sparsead_package
from conftest import Cli, run_unread
from exhaustive import choose
from sparsead import cli
from sparsead.errors import ConfigError

TINY = ("backbone=tiny-bert", "task=mrpc", "protocol.epochs=1", "device=cpu")


def assert_refused(done: subprocess.CompletedProcess[str], folder: Path, *words: str) -> None:
    """One line on stderr with these words, exit status 2, and nothing left behind."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pruner=snop"], ["pruner=snop", "did you mean snip?", "random"]),
        (["sparsity=1.0"], ["sparsity.ratio=1", "below 1"]),
        (["sparsity=0.4,large_sparse", "-m"], ["mixes numbers and names"]),
        (["task=mrpc", "task.path=nowhere"], ["task.path=nowhere", "not a folder"]),
        (["pruner.scop=global"], ["pruner.scop: no such key", "did you mean pruner.scope?"]),
        (["sed=1"], ["sed: no such key", "did you mean seed?"]),
        (["--mulitrun"], ["--mulitrun", "did you mean --multirun?"]),
        (["seed=${nope}"], ["nope"]),
        ([f"outputs={300 * 'x'}"], ["outputs=xxx", "cannot be read"]),
        (["pruner=snip,random"], ["pruner=snip,random", "add -m"]),
        (
            ["-m", "search=asha", "search.epochs=5"],
            ["search.epochs=5: must be a list of whole numbers"],
        ),
        (["-m", "pruner=snip,snop"], ["pruner=snop", "did you mean snip?"]),
        (["-m", "sparsity=0.2,1.2"], ["sparsity.ratio=1.2"]),
        (["-m", "search=grid,asha"], ["search=grid: sweeps protocol.learning_rate, "]),
        (["seed=1=2", "x"], ["x"]),
    ],
)
def test_a_wrong_override_is_refused_in_one_line(
    forked: Cli, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    assert_refused(forked(["train", *arguments]), tmp_path, *words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["adapter.init=zero_up"], ["zero at initialisation", "adapter.init=bert", "probe=true"]),
        (["device=cuda"], ["device=cuda", "no CUDA device"]),
        (["+adapter.bottlneck=3"], ["adapter.bottlneck", "did you mean adapter.bottleneck?"]),
    ],
)
def test_what_only_training_finds_out_is_refused_in_one_line(
    forked: Cli, tmp_path: Path, glue_fixture: Path, arguments: list[str], words: list[str]
) -> None:
    without_gpu = {"CUDA_VISIBLE_DEVICES": ""}
    done = forked(["train", *TINY, f"task.path={glue_fixture}", *arguments], **without_gpu)
    assert_refused(done, tmp_path, *words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["task.path=null"], ["nyu-mll/glue", "HF_HUB_OFFLINE is set", "task.path=FOLDER"]),
        (
            ["backbone=roberta-base"],
            ["roberta-base", "HF_HUB_OFFLINE is set", "backbone.path=FOLDER"],
        ),
    ],
)
def test_what_the_hub_does_not_give_is_refused_in_one_line(
    sparsead: Cli, tmp_path: Path, glue_fixture: Path, arguments: list[str], words: list[str]
) -> None:
    caches = {"HF_HOME": str(tmp_path.parent / "hf")}
    done = sparsead(["train", *TINY, f"task.path={glue_fixture}", *arguments], **caches)
    assert_refused(done, tmp_path, *words)


@pytest.mark.slow
def test_a_malformed_row_names_file_and_line(
    forked: Cli, tmp_path: Path, glue_fixture: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("glue") / "MRPC"
    folder.mkdir()
    lines = (glue_fixture / "MRPC" / "train.tsv").read_text("utf-8").split("\n")
    lines[6] = lines[6].replace("\t", " ", 1)
    (folder / "train.tsv").write_text("\n".join(lines), "utf-8")
    (folder / "dev.tsv").write_text("\n".join(lines[:4]), "utf-8")
    done = forked(["train", *TINY, f"task.path={folder.parent}"])
    assert_refused(done, tmp_path, f"{folder}/train.tsv:7: has 4 tab-separated fields")


@pytest.mark.slow
def test_outputs_that_cannot_be_read_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sparsead", "plan", "table1", "only=row=snip", "seeds=1", f"outputs={300 * 'x'}"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert (end.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "File name too long" in said.err


def test_an_unknown_verb_names_the_nearest(sparsead: Cli, tmp_path: Path) -> None:
    assert_refused(sparsead(["trian"]), tmp_path, "did you mean train?")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--help"], "sparsead train adapter=houlsby"),
        (["train", "--help"], "pruner:"),
        (["train", "pruner=random", "--cfg", "job", "sparsity=0.3"], "ratio: 0.3"),
        (["train", "--info", "defaults"], "pruner/snip"),
        (["--version"], "0.1"),
        (["table"], ""),
    ],
)
def test_what_explains_itself_does_not_import_torch(arguments: list[str], word: str) -> None:
    code = (
        "import sys; from sparsead.cli import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status"),
    choose(
        [(["--help"], 0), (["table", "--help"], 0), (["trian"], 2), ([], 0)],
        [(["table", "--help"], 0), (["trian"], 2)],
    ),
)
def test_the_package_run_as_a_module_is_the_same_command_line(
    sparsead: Cli, tmp_path: Path, arguments: list[str], status: int
) -> None:
    module = subprocess.run(
        [sys.executable, "-m", "sparsead", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    script = sparsead(arguments)
    assert module.returncode == status
    assert (module.stdout, module.stderr) == (script.stdout, script.stderr)
    assert "__main__" not in module.stdout + module.stderr


def test_completion_offers_the_choices_of_a_group() -> None:
    script = Path(sys.executable).with_name("sparsead-train")
    done = subprocess.run(
        [script, "-sc", "query=bash"],
        env={"COMP_LINE": "sparsead-train pruner=", "COMP_POINT": "22", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert {"pruner=snip", "pruner=random", "pruner=none"} <= set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb",
    choose(["--help", "train --help", "train", "runs", "params"], ["--help", "train", "runs"]),
)
def test_a_closed_pipe_ends_a_command_without_a_word(
    tmp_path: Path, glue_fixture: Path, verb: str
) -> None:
    words = verb.split()
    if verb in ("train", "params"):
        words += [*TINY, f"task.path={glue_fixture}", "task.limit=8"]
    if verb == "runs":
        (tmp_path / "outputs").mkdir()
    done = run_unread(tmp_path, words)
    assert (done.stderr, done.returncode) == ("", 0)
    if verb == "train":
        assert len(list((tmp_path / "outputs" / "runs").glob("tiny*/result.json"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [[], ["-m", "seed=1,2"]])
def test_another_folder_for_each_job_is_refused(
    sparsead: Cli, tmp_path: Path, glue_fixture: Path, sweep: list[str]
) -> None:
    words = [*TINY, f"task.path={glue_fixture}", "hydra.job.chdir=true"]
    done = sparsead(["train", *sweep, *words])
    assert done.returncode != 0
    assert "hydra.job.chdir=true: paths are looked for in the folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs" / "runs").exists()


@pytest.mark.slow
def test_a_sweep_trains_every_cell_and_a_second_request_trains_none(
    sparsead: Cli, forked: Cli, tmp_path: Path, glue_fixture: Path
) -> None:
    command = [
        "train",
        "-m",
        *TINY,
        f"task.path={glue_fixture}",
        "sparsity=0.2,0.4",
        "task.limit=8",
    ]
    first = sparsead(command)
    assert first.returncode == 0, first.stderr
    assert "no length" not in first.stdout  # accelerate's own remark, once an evaluation
    records = sorted((tmp_path / "outputs" / "runs").iterdir())
    assert len(records) == 2
    written = [(record / "result.json").stat().st_mtime_ns for record in records]
    again = forked(command)
    assert again.stdout.count("recorded already") == 2
    assert [(record / "result.json").stat().st_mtime_ns for record in records] == written
    table = forked(["table", "--format", "csv"]).stdout.splitlines()
    assert len(table) == 3
    assert ",20.0," in table[1]
    assert ",40.0," in table[2]


@pytest.mark.slow
def test_a_sweep_of_a_file_is_checked_before_its_first_run(
    forked: Cli, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = tmp_path_factory.mktemp("own")
    (own / "experiment").mkdir()
    for name, mode in (("mine", "mode: MULTIRUN, "), ("half", "")):
        (own / "experiment" / f"{name}.yaml").write_text(
            f"# @package _global_\nhydra: {{{mode}sweeper: {{params: {{seed: '1,x'}}}}}}\n"
        )
    words = ["train", "--config-dir", str(own), *TINY, "task=demo_mrpc"]
    for flag in ([], ["-m"]):
        done = forked([*words, *flag, "experiment=mine"])
        assert_refused(done, tmp_path, "sparsead: seed=x: must be a whole number")
    assert_refused(forked([*words, "experiment=half"]), tmp_path, "half: sweeps seed", "train -m")


@pytest.mark.slow
def test_info_may_stand_after_the_overrides(forked: Cli) -> None:
    done = forked(["train", "seed=7", "--info"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "seed: 7" in done.stdout


def test_windows_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Windows")
    monkeypatch.setattr(sys, "argv", ["sparsead", "doctor"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr().err
    assert (end.value.code, said.count("\n")) == (2, 1)
    assert "Linux and macOS" in said
    monkeypatch.delitem(vars(sparsead_package), "train", raising=False)  # used before
    with pytest.raises(ConfigError, match="wsl --install"):
        _ = sparsead_package.train


def test_a_refused_input_is_a_traceback_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError, match="nosuch"):
        cli.run("table", ["nosuch"])


def test_ctrl_c_in_any_verb_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sparsead.commands.doctor.main", interrupt)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit) as ended:
        cli.run("doctor", [])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "sparsead: interrupted\n"


def test_what_the_output_cannot_encode_is_written_as_an_escape() -> None:
    """A training that has ended must not be lost for a character of its last line."""
    code = "from sparsead.errors.display import protect_output as s; s(); print('a \\u2026')"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a \\u2026\n", "")


@pytest.mark.parametrize(
    ("command", "status", "told"),
    [
        ("runs >&-", 0, ""),
        ("runs --help >&-", 0, ""),
        ("runs >/dev/full", 2, "standard output: cannot be written (No space left on device)"),
        ("runs --help >/dev/full", 2, "standard output: cannot be written (No space left on dev"),
        ("rnus 2>&-", 2, ""),
        ("rnus 2>/dev/full", 2, ""),
    ],
)
def test_output_that_cannot_be_written_is_told_where_that_can_be(
    tmp_path: Path, command: str, status: int, told: str
) -> None:
    words = f"{shlex.quote(sys.executable)} -m sparsead {command}"
    done = subprocess.run(
        ["sh", "-c", words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert done.stderr.startswith(f"sparsead: {told}" if told else "")
    assert done.stderr.count("\n") == (1 if told else 0)


def test_a_terminal_of_one_column_is_written_to(sparsead: Cli) -> None:
    for words in (["--help"], ["table", "--help"]):
        done = sparsead(words, COLUMNS="1")
        assert (done.returncode, done.stderr) == (0, "")
