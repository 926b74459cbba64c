"""`sparsead variance`: split a score's variance over the seeds of data, initial weights and mask.

It trains seeds² runs of one configuration, in which each seed of the data meets each seed of the
initial weights once, and each seed of the mask meets both of them once (a Latin square).
`sparsead variance task=rte sparsity=0.8 --seeds 5` takes the overrides of `sparsead train`.

$ sparsead variance sparsity=0.8 --seeds 5
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from sparsead.assembly.checks import check_buildable
from sparsead.commands.reproduce import count_runs, print_failures
from sparsead.commands.train import train_run
from sparsead.config.arguments import Parser, add_output_options, add_overrides
from sparsead.config.launch import take_launcher
from sparsead.config.overrides import expand
from sparsead.config.quoting import overridden_key
from sparsead.config.run import RunSpec
from sparsead.config.seeds import SEED_KEYS, Seeds
from sparsead.errors import ConfigError
from sparsead.errors.display import pluralize
from sparsead.progress import output_as, printed_log
from sparsead.report.formats import to_rich
from sparsead.report.screen import wrap
from sparsead.report.signed import format_score
from sparsead.report.teller import Teller
from sparsead.report.variance import REST, Component, decompose, latin_square
from sparsead.runs.interrupt import stop_on_interrupt
from sparsead.runs.prerequisites import find_prerequisites, list_sources
from sparsead.runs.request import RunRequest
from sparsead.runs.states import Done, read_state
from sparsead.tables.cells import Cell
from sparsead.tables.composed import compose_all
from sparsead.tables.sweep import run_cells

_LEAST, _MOST = 3, 100
_NAMES = {
    "data": "order of the data, dropout",
    "init": "initial weights",
    "mask": "mask",
    REST: "their interactions",
}


def main() -> None:
    """Entry point of `sparsead variance`."""
    parser = Parser("sparsead variance", __doc__)
    add_overrides(parser, "any override of `sparsead train` but those of seeds")
    number = "seeds of each part; seeds² runs are trained (default: 5)"
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help=number)
    parser.add_argument("--retry-failed", action="store_true", help="also train failed runs again")
    add_output_options(parser)
    arguments = parser.parse()
    if not _LEAST <= arguments.seeds <= _MOST:
        raise ConfigError(f"--seeds {arguments.seeds}: must be from {_LEAST} to {_MOST}")
    launcher, overrides = take_launcher(arguments.overrides)
    if launcher:
        raise ConfigError(
            f"{launcher[0]}: variance trains one run after the other; leave the launcher out, and "
            "start the command several times: the processes share the runs"
        )
    request = _compose(overrides)
    check_buildable(request.spec)
    request.tracking.check_installed()
    wanted = _cells(request, tuple(overrides), arguments.seeds)
    retry = arguments.retry_failed
    output = output_as(quiet=arguments.quiet, json=arguments.json)
    resumable = stop_on_interrupt("run the same command again to resume")
    with output, printed_log(), resumable:
        cells = [cell for _, cell in wanted]
        tell = Teller(count_runs(cells, retry=retry), lambda cell: f"{cell.row} (data-init-mask)")
        run_cells(cells, train_run, retry_failed=retry, tell=tell)
    if print_failures([cell for _, cell in wanted]):
        raise SystemExit(1)
    report = _report(wanted, masked=request.spec.masked)
    sys.stdout.write(_as_json(report) if arguments.json else _as_text(report))


def _compose(overrides: list[str]) -> RunRequest:
    for override in overrides:
        if overridden_key(override) in (*SEED_KEYS, "seeds"):
            raise ConfigError(f"{override}: the seeds are chosen here; say how many with --seeds N")
    (request,) = compose_all([tuple(expand(overrides))])
    request.refuse_rerun("variance")
    if list_sources(request.spec) or find_prerequisites(request.spec, overrides):
        raise ConfigError(
            f"adapter={request.spec.adapter.name}: starts from other runs, which have seeds of "
            "their own; choose another adapter"
        )
    return request


def _cells(request: RunRequest, overrides: tuple[str, ...], seeds: int) -> list[tuple[Seeds, Cell]]:
    spec = request.spec
    square = latin_square(seeds, masked=spec.masked)
    return [
        (
            each,
            Cell(
                f"seeds {each.data}-{each.init}-{each.mask}",
                spec.task.name,
                spec.backbone.name,
                each.data,
                overrides,
                replace(request, spec=_with_seeds(request, each)),
            ),
        )
        for each in square
    ]


def _with_seeds(request: RunRequest, seeds: Seeds) -> RunSpec:
    return replace(request.spec, seed_data=seeds.data, seed_init=seeds.init, seed_mask=seeds.mask)


class _Report(NamedTuple):
    """The parts of a score's variance.

    Attributes:
        metric: name of the score.
        scores: of each run, in percent.
        collapsed: number of runs whose predictions are all the same.
        components: the parts.
    """

    metric: str
    scores: Mapping[Seeds, float]
    collapsed: int
    components: Sequence[Component]


def _report(wanted: list[tuple[Seeds, Cell]], *, masked: bool) -> _Report:
    scores: dict[Seeds, float] = {}
    metric, collapsed = "", 0
    for seeds, cell in wanted:
        state = read_state(cell.request.folder)
        assert isinstance(state, Done)
        metric, score = next(iter(state.record.result["scores"].items()))
        if score is None:
            raise ConfigError(f"{cell.request.folder.name}: its {metric} is not defined")
        scores[seeds] = 100 * score
        collapsed += bool(state.record.result.get("collapsed"))
    parts = ("data", "init", "mask") if masked else ("data", "init")
    return _Report(metric, scores, collapsed, decompose(scores, parts))


def _as_json(report: _Report) -> str:
    content = {
        "metric": report.metric,
        "scores": {f"{s.data}-{s.init}-{s.mask}": score for s, score in report.scores.items()},
        "collapsed": report.collapsed,
        "causes": {_NAMES[c.name]: {"variance": c.variance, "p": c.p} for c in report.components},
    }
    return json.dumps(content, indent=2) + "\n"


def _as_text(report: _Report) -> str:
    total = sum(max(0.0, each.variance) for each in report.components)
    mean = sum(report.scores.values()) / len(report.scores)
    runs = pluralize(len(report.scores), "run")
    lost = f"; {report.collapsed} of them collapsed" if report.collapsed else ""
    head = f"{report.metric}: {format_score(mean)}, mean of {runs}{lost}\n"
    columns = ["cause", "standard deviation", "share of the variance", "p"]
    notes = [_NOTE, _NOTE_OF_COLLAPSED] if report.collapsed else [_NOTE]
    table = to_rich(columns, [_row(each, total) for each in report.components])
    return head + table + "".join(f"{line}\n" for note in notes for line in wrap(note))


def _row(component: Component, total: float) -> dict[str, str]:
    variance = max(0.0, component.variance)
    return {
        "cause": _NAMES[component.name],
        "standard deviation": f"{variance**0.5:.2f}",
        "share of the variance": f"{100 * variance / total if total else 0:.0f} %",
        "p": "–" if component.p is None else f"{component.p:.3g}",
    }


_NOTE = (
    "In points. p: F test that the cause has no influence. A variance that is estimated below 0 is "
    "shown as 0."
)
_NOTE_OF_COLLAPSED = (
    "A collapsed run predicts the same for all examples; its score counts like any other."
)
