"""What a shell completes: verbs, choices, keys, options and the names of runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparsead import cli
from sparsead.commands.completion import SHELLS, complete


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sparsead"])
    for name in ("one_a1", "two_b2", ".partial-three", "$(touch x)", "\x1b]0;x\x07", "a b"):
        (tmp_path / "outputs" / "runs" / name).mkdir(parents=True)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("sparsead tr", ["train"]),
        ("sparsead train adapter=ho", ["adapter=houlsby", "adapter=houlsby_authors"]),
        ("sparsead train -m pruner=snip,ran", ["pruner=snip,random"]),
        ("sparsead train protocol.label_", ["protocol.label_smoothing="]),
        ("sparsead train adapter.bottl", ["adapter.bottleneck="]),
        ("sparsead show ", ["one_a1", "two_b2"]),
        ("sparsead show one_a1 --against t", ["two_b2"]),
        ("sparsead figure masks o", ["one_a1"]),
        ("sparsead figure cur", ["curves"]),
        ("sparsead reproduce controls_g", ["controls_grasp"]),
        ("sparsead runs state=f", ["state=failed"]),
        ("sparsead runs del", ["delete"]),
        ("sparsead list prun", ["pruners"]),
        ("sparsead show one_a1 --err", ["--errors"]),
        ("sparsead runs delete --perm", ["--permanently"]),
        ("sparsead trian ", []),
    ],
)
def test_words_are_completed(line: str, found: list[str]) -> None:
    completed = complete(line)
    assert [word for word in completed if word in found] == found
    assert all(word.startswith(line.rpartition(" ")[2]) for word in completed)
    assert len(completed) <= len(found) + 2


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_accepts_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    sys.argv = ["sparsead", "completion", shell]
    cli.main()
    script = capsys.readouterr().out
    assert script == SHELLS[shell]
    if shutil.which(shell):
        flag = "--no-execute" if shell == "fish" else "-n"
        subprocess.run([shell, flag], input=script, text=True, check=True)


@pytest.mark.slow
def test_bash_inserts_only_what_follows_the_equals_sign() -> None:
    script = (
        f'PATH="{Path(sys.executable).parent}:$PATH"; {SHELLS["bash"]}'
        'COMP_LINE="sparsead train adapter=hou"; COMP_POINT=${#COMP_LINE}; _sparsead 2>/dev/null\n'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["houlsby", "houlsby_authors"]
