"""What a shell completes: verbs, choices, keys, options and the names of runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sparsead import cli
from sparsead.commands.completion import SHELLS, complete
from sparsead.commands.figure import KINDS as FIGURES
from sparsead.commands.list import KINDS
from sparsead.commands.runs import ACTIONS
from sparsead.config.choices import list_choices
from sparsead.runs.listing import STATES


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
        ("sparsead train --js", ["--json"]),
        ("sparsead train --qu", ["--quiet"]),
        ("sparsead train ++pruner=", []),
        ("sparsead trian ", []),
    ],
)
def test_words_are_completed(line: str, found: list[str]) -> None:
    assert complete(line) == found


def test_a_closed_list_is_offered_as_a_whole() -> None:
    assert complete("sparsead ") == [*cli.verbs(), "--help", "--version"]
    assert complete("sparsead runs state=") == [f"state={state}" for state in STATES]
    assert complete("sparsead list ") == [*KINDS]
    assert complete("sparsead completion ") == [*SHELLS]
    figures = [word for word in complete("sparsead figure ") if "=" not in word]
    assert figures == [*list_choices("table"), *FIGURES]
    actions = [word for word in complete("sparsead runs ") if "=" not in word]
    assert actions == [*ACTIONS]


@pytest.mark.slow
@pytest.mark.parametrize("verb", cli.verbs())
def test_a_verb_is_completed_to_what_its_help_says_that_it_takes(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(SystemExit):
        cli.run(verb, ["--help"])
    usage = capsys.readouterr().out.partition("\n\n")[0]
    offered = [*complete(f"sparsead {verb} "), *complete(f"sparsead {verb} masks ")]
    for example, named in {
        "one_a1": r"\bRUN\b",
        "table1": r"\bTABLE\b",
        "pruner=": r"KEY=VALUE|\bFILTER\b",
    }.items():
        assert (example in offered) == bool(re.search(named, usage)), (example, usage)


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
