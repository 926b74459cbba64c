"""The content of a rendered table: cells, published numbers, comparisons, claims and notes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparsead.errors.display import pluralize
from sparsead.report.claims import Verdict, judge_claims
from sparsead.report.comparisons import (
    Mark,
    RowComparison,
    compare_rows,
    describe_different_examples,
    mark_cells,
    smallest_corrected_p,
)
from sparsead.report.examples import ResampledScores
from sparsead.report.interval_notes import notes_of_intervals
from sparsead.report.mask_notes import notes_of_masks
from sparsead.report.protocol_notes import notes_of_parts, notes_of_protocol
from sparsead.report.results import (
    Measured,
    Place,
    Results,
    backbone_of,
    describe_unit,
    is_random_pruning,
)
from sparsead.report.seed_notes import notes_of_seeds
from sparsead.report.source_notes import notes_of_sources
from sparsead.report.statistics import ALPHA, fewest_pairs
from sparsead.tables.cells import AVERAGE, Column, Row


@dataclass(frozen=True)
class ViewCell:
    """One cell: measured results, published score, comparisons with other rows, and mark."""

    column: str
    measured: Measured
    paper: float | None
    compared: tuple[RowComparison, ...]
    mark: Mark | None

    @property
    def paper_text(self) -> str:
        """The published score with one decimal, or with two if it is an average that has two."""
        return "" if self.paper is None else f"{self.paper:.2f}".removesuffix("0")


@dataclass(frozen=True)
class ViewRow:
    """One row for one backbone; `params` holds each column's #param, in percent of the backbone."""

    row: Row
    backbone: str
    params: tuple[float, ...]
    paper_params: tuple[float, ...]
    cells: tuple[ViewCell, ...]

    @property
    def params_text(self) -> str:
        """The measured #param in percent; the distinct values, if columns differ."""
        return " / ".join(dict.fromkeys(f"{share:.2f}" for share in self.params))

    @property
    def paper_params_text(self) -> str:
        """The published #param in percent; the distinct values, if columns differ."""
        return " / ".join(dict.fromkeys(f"{share:g}" for share in self.paper_params))


@dataclass(frozen=True)
class View:
    """A whole table with its notes and claims."""

    results: Results
    rows: tuple[ViewRow, ...]
    compared: tuple[RowComparison, ...]
    verdicts: tuple[Verdict, ...]
    uncrossed: Mapping[str, str] = field(default_factory=dict)
    """Why no interval of a column counts the evaluated examples, by column."""

    def label(self, column: str) -> str:
        """Return the heading of a column."""
        table = self.results.table
        heads = {each.name: each.label for each in table.columns}
        return heads.get(column, table.average_label)

    @property
    def _other_row(self) -> str:
        """What the notes call the row that another is compared with."""
        table = self.results.table
        return "the row that is named" if table.baseline is None else table.baseline_label

    @property
    def notes(self) -> list[str]:
        """The notes below the table, which explain how to read its numbers."""
        table = self.results.table
        seeds = pluralize(table.seeds, "paired seed")
        averages = ["Averages are over tasks within each seed, then over seeds."]
        return [
            f"Percent, mean ± standard deviation over {seeds}; n where it is fewer.",
            *(averages if table.average else ()),
            *_notes_of_backbones(self),
            *(column.note for column in table.columns if column.note),
            *_notes_of_errors(self.results),
            *notes_of_protocol(self.results),
            *notes_of_parts(self.results),
            *notes_of_masks(self.results),
            *_notes_of_rows(self),
            *table.notes,
            *_notes_of_lost_seeds(self.results),
            *notes_of_seeds(self.results),
            *_notes_of_precision(self.results),
            *notes_of_sources(self.results),
            *_notes_of_random_pruning(self.results),
            *dict.fromkeys(describe_different_examples(self.results)),
            *(_notes_of_tests(self) if self.compared else ()),
            *notes_of_intervals(self.compared, self.uncrossed, self._other_row),
            *_notes_of_claims(self.verdicts),
        ]


def build_view(results: Results) -> View:
    """Collect everything that a table shows; it does not depend on when the runs were recorded.

    Raises:
        ConfigError: a claim is malformed.
    """
    resampled = ResampledScores(results)
    compared = compare_rows(results, resampled)
    by_place: dict[Place, list[RowComparison]] = defaultdict(list)
    for each in compared:
        by_place[each.place].append(each)
    marked = mark_cells(results, compared)
    rows = [
        _row(results, row, backbone, by_place, marked)
        for backbone in results.table.backbones
        for row in results.table.rows
    ]
    verdicts = tuple(judge_claims(results))
    return View(results, tuple(rows), tuple(compared), verdicts, resampled.reasons)


def _row(
    results: Results,
    row: Row,
    backbone: str,
    compared: Mapping[Place, Sequence[RowComparison]],
    marked: dict[Place, Mark],
) -> ViewRow:
    published = row.published_for(backbone)
    scores = {} if published is None else published.scores
    params = {} if published is None else published.params
    places = [Place(backbone, row.name, column) for column in results.columns]
    cells = [
        ViewCell(
            place.column,
            results.at(*place),
            scores.get(place.column),
            tuple(compared.get(place, ())),
            marked.get(place),
        )
        for place in places
    ]
    return ViewRow(row, backbone, _nominal(results, places), tuple(params.values()), tuple(cells))


def _nominal(results: Results, places: list[Place]) -> tuple[float, ...]:
    found = [results.at(*place).records for place in places if place.column != AVERAGE]
    first: list[Any] = [next(iter(records.values())).result for records in found if records]
    return tuple(100 * float(result["parameters"]["nominal"]) for result in first)


def _notes_of_backbones(shown: View) -> list[str]:
    """Note columns with their own backbone, and published numbers for a different backbone."""
    own = [f"{c.label} on {backbone_of(c, '')}" for c in _with_own_backbone(shown)]
    pairs = [(row.backbone, row.row.published_for(row.backbone)) for row in shown.rows]
    theirs = [(ours, published.backbone) for ours, published in pairs if published is not None]
    return [f"{', '.join(own)}, in every row."] * bool(own) + [
        f"The paper's numbers beside {ours} are for {other}."
        for ours, other in dict.fromkeys(theirs)
        if other not in (ours, None)
    ]


def _notes_of_rows(shown: View) -> list[str]:
    """Note which rows have no runs in a column, and why."""
    return [
        f"{row.label} has no runs in {shown.label(column)}: {reason}"
        for row in shown.results.table.rows
        for column, reason in row.not_run.items()
    ]


def _with_own_backbone(shown: View) -> list[Column]:
    return [column for column in shown.results.table.columns if backbone_of(column, "")]


def _notes_of_errors(results: Results) -> list[str]:
    """Note which columns are not in percent, but errors, and in which unit."""
    return [
        f"{column.label}: {column.metric} in {describe_unit(results, column.name)}; lower is "
        "better."
        for column in results.table.columns
        if results.direction(column.name) < 0
    ]


def _notes_of_lost_seeds(results: Results) -> list[str]:
    """Note what failed and collapsed seeds mean for the means, marks and claims."""
    cells = results.places.values()
    failed, collapsed = any(c.failed for c in cells), any(c.collapsed for c in cells)
    said = {
        "A failed seed has no score and is not in the mean.": failed,
        "A collapsed seed predicts the same for all examples; its score is in the mean.": collapsed,
        "No row with such a seed is bold, and no claim about it is decided.": failed or collapsed,
    }
    return [" ".join(text for text, is_so in said.items() if is_so)] * (failed or collapsed)


def _notes_of_precision(results: Results) -> list[str]:
    """Note if precision=auto chose different precisions, for instance on different machines."""
    chosen = (each.result.get("environment", {}).get("precision") for each in results.every_run())
    runs = Counter(precision for precision in chosen if precision is not None)
    if len(runs) < 2:
        return []
    each = " and ".join(f"{pluralize(n, 'run')} in {name}" for name, n in sorted(runs.items()))
    return [
        f"{each}: this adds to the differences between seeds; set precision=fp32 or bf16 to use "
        "one everywhere."
    ]


def _notes_of_random_pruning(results: Results) -> list[str]:
    """Note where Erdős–Rényi pruning is random, because every tensor loses the same share."""
    names = dict.fromkeys(
        results.label(row.name)
        for backbone in results.table.backbones
        for row in results.table.rows
        if is_random_pruning(results, backbone, row.name)
    )
    return [
        f"{name}: every tensor loses the same share, because their shapes are alike or because of "
        "pruner.scope=tensor, so that Erdős–Rényi pruning is random pruning; it is not compared."
        for name in names
    ]


def _notes_of_claims(verdicts: Sequence[Verdict]) -> list[str]:
    if not verdicts:
        return []
    tested = pluralize(sum(verdict.n > 0 for verdict in verdicts), "test")
    return [
        "Claims: a claim holds if all its parts do, each by a one-sided paired permutation test at "
        "5 %; it does not hold if the opposite of a part is significant after Holm's correction. "
        "The p-values for and against a claim are then corrected by Holm's method over the claims "
        f"and backbones, {tested} in all, so that in a table without any effect the chance of a "
        "wrong `holds` is at most 5 %, and so is that of a wrong `does not hold`. `within ±m` is "
        "an equivalence test (TOST). "
        "In brackets: the 95 % t interval over the seeds; p of a part is not corrected."
    ]


def _notes_of_tests(shown: View) -> list[str]:
    table = shown.results.table
    given = "its dense row" if table.baseline_label == "the dense row" else table.baseline_label
    baseline = "a row that it is compared with" if table.baseline is None else given
    least = smallest_corrected_p(shown.compared)
    enough = fewest_pairs(len(shown.compared))
    tests = (
        f"p: paired permutation test, {pluralize(len(shown.compared), 'comparison')} corrected by "
        f"Holm's method; the smallest attainable p is {least:.3g}"
    )
    if least > ALPHA:
        few = "with so few seeds no difference can be significant, so that nothing is bold or"
        needed = "no number of seeds is enough"
        if enough is not None:
            needed = f"at least {enough} seeds are needed"
        return [f"{tests}; {few} underlined; {needed}."]
    return [
        f"Bold: the best row, if it is significantly better than {baseline}; underlined: rows "
        "not significantly different from the bold one, where n could have shown a difference.",
        f"{tests}.",
    ]
