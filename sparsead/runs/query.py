"""Finding a run by what the user calls it."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from sparsead.errors import RecordError
from sparsead.runs.record import RESULT_FILE, RunRecord

_NAMED = 5


def find_run(run: str, outputs: Path) -> RunRecord:
    """Return the run in the folder `run`, or the one below `outputs` whose name contains `run`.

    Raises:
        RecordError: there is no such run, or more than one.
    """
    if (Path(run) / RESULT_FILE).is_file():
        return RunRecord.read(Path(run))
    names = sorted(path.parent.name for path in (outputs / "runs").glob(f"[!.]*/{RESULT_FILE}"))
    found = [name for name in names if name == run] or [name for name in names if run in name]
    if len(found) == 1:
        return RunRecord.read(outputs / "runs" / found[0])
    if found:
        more = ", …" if len(found) > _NAMED else ""
        listed = ", ".join(found[:_NAMED]) + more
        raise RecordError(f"{run}: is part of the name of {len(found)} runs ({listed})")
    near = _nearest(run, names)
    hint = f"; did you mean {near}?" if near else ""
    raise RecordError(f"{run}: is no run, nor part of the name of one in {outputs / 'runs'}{hint}")


def _nearest(run: str, names: list[str]) -> str | None:
    identities = {name.rpartition("_")[2]: name for name in names}
    near = get_close_matches(run, [*names, *identities], n=1, cutoff=0.4)
    return identities.get(near[0], near[0]) if near else None
