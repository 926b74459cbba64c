"""The study of a search by successive halving: a journal of Optuna that several processes share.

`optuna-dashboard FILE` opens it. Every point of the grid is a trial of the study; a process takes
the next one that is waiting, or goes on with one whose process has died, and reports its scores.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NotRequired

from filelock import BaseFileLock, FileLock, Timeout
from typing_extensions import TypedDict

from sparsead.config.search import GRID, SearchSpec
from sparsead.errors import ConfigError, RecordError
from sparsead.runs.checked import check_type
from sparsead.runs.request import RunRequest
from sparsead.runs.result import Hash
from sparsead.runs.trials import Trial, build_write_error

if TYPE_CHECKING:
    import optuna

_IDENTITY: Final = "identity"
_STATE: Final = "state"
_ERROR: Final = "error"


class _TrialAttributes(TypedDict):
    """What a trial says besides its scores; the file may have been edited."""

    identity: Hash
    state: NotRequired[Literal["finished", "stopped", "failed"]]
    error: NotRequired[str]


def journal_file(trials_file: Path) -> Path:
    """Return the journal of a search, beside the folder of the searches' own files."""
    return trials_file.parent.with_name("optuna") / f"{trials_file.stem}.log"


def check_installed() -> None:
    """Refuse a search where Optuna is missing.

    Raises:
        ConfigError: the message says how to install it.
    """
    if find_spec("optuna") is None:
        raise ConfigError("search=asha: needs Optuna: pip install 'sparsead[optuna]'")


class Journal:
    """The trials of a search: one for each point.

    Attributes:
        points: the runs of each point, in the order of the trials. It is that in which the process
            that began the search was given them: the same grid can be typed in another order.

    Args:
        file: the journal; it is made where it is missing.
        space: the grid, and when points are judged.
        points: for each point its runs, one for each seed.

    Raises:
        RecordError: the file is no journal of this search.
        StorageError: the file cannot be written; so do all methods that write to it.
    """

    def __init__(
        self, file: Path, space: SearchSpec, points: Sequence[Sequence[RunRequest]]
    ) -> None:
        self._journal = file
        self._space = space
        self._held: dict[int, BaseFileLock] = {}
        self.points: list[Sequence[RunRequest]] = []
        left = {runs[0].identity: runs for runs in points}
        with self._locked():
            self._study = _open_study(file, space)
            for trial in self._frozen():
                runs = left.pop(str(trial.user_attrs.get(_IDENTITY)), None)
                if runs is None:
                    raise RecordError(f"{file}: is the journal of another search; delete it")
                self.points.append(runs)
            for runs in left.values():
                self.points.append(runs)
                self._enqueue(runs[0])

    def _enqueue(self, run: RunRequest) -> None:
        values = {key: getattr(run.spec.protocol, key) for key in GRID}
        self._study.enqueue_trial(values, user_attrs={_IDENTITY: run.identity})

    def take(self, busy: Collection[int]) -> optuna.Trial | None:
        """Return a trial to work on: one whose process has died, else the next that waits.

        No other process takes it until `tell` or `leave` is called, or this process dies.

        Args:
            busy: numbers of trials that another process was found to work on.
        """
        with self._locked():
            for number in self.list_running():
                if number not in busy and self._hold(number):
                    return self._opened(self._frozen()[number])
            if not any(trial.state.name == "WAITING" for trial in self._frozen()):
                return None
            asked = self._study.ask()
            self._hold(asked.number)
            return self._opened(asked)

    def leave(self, taken: optuna.Trial) -> None:
        """Leave a trial to other processes."""
        self._held.pop(taken.number).release()

    def tell(self, taken: optuna.Trial, trial: Trial) -> None:
        """Write how a trial has ended."""
        with self._locked():
            self._tell(taken, trial)
        self.leave(taken)
        self._lock_of(taken.number).unlink(missing_ok=True)

    def _tell(self, taken: optuna.Trial, trial: Trial) -> None:
        from optuna.trial import TrialState

        taken.set_user_attr(_STATE, trial.state)
        if trial.error is not None:
            taken.set_user_attr(_ERROR, trial.error)
        is_whole = trial.state == "finished" and trial.scores[-1] == trial.scores[-1]
        states = {"stopped": TrialState.PRUNED}
        state = TrialState.COMPLETE if is_whole else states.get(trial.state, TrialState.FAIL)
        # A trial that was resumed may have scored a little otherwise than before it was killed.
        value = _reported(self._frozen()[taken.number])[-1] if is_whole else None
        self._study.tell(taken, value, state=state)

    def count_reported(self, taken: optuna.Trial) -> int:
        """Return for how many epochs the trial has a score already."""
        return len(self._frozen()[taken.number].intermediate_values)

    def report(self, taken: optuna.Trial, score: float, epoch: int) -> None:
        """Write the score of a trial after an epoch."""
        with self._usable():
            taken.report(score, epoch)

    def should_stop(self, taken: optuna.Trial) -> bool:
        """Tell whether the last score of a trial is not among the best of its rung."""
        with self._usable():
            return taken.should_prune()

    def list_running(self) -> list[int]:
        """Return the numbers of the trials that a process has taken and not ended."""
        return [n for n, trial in enumerate(self._frozen()) if trial.state.name == "RUNNING"]

    def list_ended(self) -> dict[int, Trial]:
        """Return the trials that have ended by their numbers, in order."""
        return {
            number: self._described(number, trial)
            for number, trial in enumerate(self._frozen())
            if trial.state.is_finished()
        }

    def check_against(self, file: Path, written: Sequence[Trial]) -> None:
        """Refuse a journal that does not say what the search's own file says of the same trials.

        The file has a checksum and the journal has none: an edited score would choose a point.

        Args:
            file: the search's file, for the message.
            written: the trials in it; the journal may have ended more of them since.

        Raises:
            RecordError: the scores, the state or the error of a trial differ.
        """
        known = {trial.identity: trial for trial in written}
        for number, trial in self.list_ended().items():
            if not trial.agrees_with(known.get(trial.identity, trial)):
                raise RecordError(
                    f"{self._journal}: trial {number} is not the one in {file}, so one of the two "
                    "was edited; delete the journal, and the search begins anew"
                )

    def _described(self, number: int, trial: optuna.trial.FrozenTrial) -> Trial:
        with self._usable():
            said = check_type({**trial.user_attrs}, _TrialAttributes)
        described = Trial.of(self.points[number][0])
        described.scores = _reported(trial)
        described.state = said.get(_STATE, "stopped")
        described.error = said.get(_ERROR)
        if described.state == "finished" and not described.scores:
            raise RecordError(f"{self._journal}: trial {number} is finished without scores")
        if trial.value is not None and described.scores[-1:] != [trial.value]:
            raise RecordError(
                f"{self._journal}: trial {number} ended at {trial.value:g}, but that is not its "
                "last score, so it was edited; delete the journal, and the search begins anew"
            )
        return described

    def _lock_of(self, number: int) -> Path:
        return self._journal.with_name(f".{self._journal.stem}.{number}.lock")

    def _hold(self, number: int) -> bool:
        """Hold a trial's lock, which the operating system releases if this process dies."""
        lock = FileLock(self._lock_of(number), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return False
        self._held[number] = lock
        return True

    def _opened(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> optuna.Trial:
        import optuna

        opened = optuna.Trial(self._study, trial._trial_id)
        for key in GRID:  # the value is the one that was written for this trial
            opened.suggest_categorical(key, getattr(self._space, key))
        return opened

    def _frozen(self) -> list[optuna.trial.FrozenTrial]:
        with self._usable():
            return self._study.get_trials(deepcopy=False)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._usable():
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._journal.with_name(f".{self._journal.stem}.lock")):
                yield

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Say in one line that the file is no journal, or that it cannot be written."""
        try:
            yield
        except OSError as error:
            raise build_write_error(self._journal, error) from error
        except (ValueError, KeyError, TypeError, AssertionError, RecursionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RecordError(
                f"{self._journal}: is not a journal of Optuna ({reason}); delete it, and the "
                "search begins anew"
            ) from error


def _reported(trial: optuna.trial.FrozenTrial) -> list[float]:
    """Return the scores of a trial in the order of their epochs."""
    return [score for _, score in sorted(trial.intermediate_values.items())]


def _open_study(file: Path, space: SearchSpec) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from sparsead.runs.journal_lock import WholeLineLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name=file.stem,
        storage=JournalStorage(JournalFileBackend(str(file), lock_obj=WholeLineLock(file))),
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),  # every trial's values are given
        pruner=optuna.pruners.SuccessiveHalvingPruner(space.first_rung, space.reduction),
    )
