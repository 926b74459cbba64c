"""One line for each run of a sweep that ends, and how many of them are done at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from sparsead.config.quoting import outputs_option
from sparsead.progress import JSON, QUIET, format_seconds, output_mode, print_line
from sparsead.report.outcome import describe_scores, outcome_values
from sparsead.runs.failure import failure_file
from sparsead.runs.record import RunRecord
from sparsead.runs.tally import STARTED, Entry


def job_number() -> int:
    """Return the number of a sweep's job, from 1."""
    return int(HydraConfig.get().job.num) + 1


def job_label() -> str:
    """Return the number of a sweep's job, and of how many, if this process started the sweep."""
    return f"{job_number()}{'' if STARTED.runs is None else f' of {STARTED.runs}'}: "


def print_finished(record: RunRecord) -> None:
    """Print one line on a finished run of a sweep."""
    if output_mode() == QUIET:
        sys.stdout.write(f"{record.folder}\n")
    took = format_seconds(sum(record.result["seconds"].values()))
    print_line(f"{job_label()}{record.folder.name}: {describe_scores(record)}, {took}")


def sum_up(entries: Sequence[Entry]) -> None:
    """Say how many runs of a sweep are done and how many failed, and exit with 1 if any failed."""
    failed = [entry for entry in entries if entry["state"] == "failed"]
    if output_mode() == JSON:
        done = [RunRecord.read(Path(e["folder"])) for e in entries if e["state"] == "done"]
        content = {"done": [outcome_values(record) for record in done], "failed": failed}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    outputs = Path(entries[0]["folder"]).parent.parent if entries else Path("outputs")
    where = outputs_option(outputs)
    done_runs = len(entries) - len(failed)
    if failed:
        print_line(f"{done_runs} done, {len(failed)} failed; {_explain_failures(failed, where)}")
        raise SystemExit(1)
    print_line(f"{done_runs} done; `sparsead table{where}` shows them")


def _explain_failures(failed: Sequence[Entry], where: str) -> str:
    """Say where the failures are; those of a search all of whose points failed are its points'."""
    files = [failure_file(Path(entry["folder"])) for entry in failed]
    written = [file for file in files if file.exists()]
    if not written:
        return "the lines above say why"
    return (
        f"see {written[0]}; `sparsead runs state=failed{where}` lists them, and the same command "
        "again retries them"
    )
