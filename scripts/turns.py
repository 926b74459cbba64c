"""Times several contestants in turn, and stops when a budget of minutes is spent."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Key = TypeVar("Key")
Contestant = Callable[[int], float]
"""Takes the number of a turn and returns the seconds that its work took."""


class LeftOut(Exception):  # noqa: N818
    """A contestant cannot take part; the message says why."""


class TimeUp(Exception):  # noqa: N818
    """The budget is spent."""


class Budget:
    """The time that a benchmark may take, from now on; without a limit if `minutes` is None."""

    def __init__(
        self, minutes: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._began = clock()
        self._seconds = math.inf if minutes is None else 60 * minutes

    @property
    def spent(self) -> bool:
        return self.left <= 0

    @property
    def left(self) -> float:
        """The seconds that are left; infinite without a limit."""
        return self._began + self._seconds - self._clock()

    @property
    def timeout(self) -> float | None:
        """The seconds that are left, for `subprocess.run`; None without a limit."""
        return None if math.isinf(self._seconds) else max(self.left, 0.001)

    def check(self) -> None:
        """Raise TimeUp if the budget is spent."""
        if self.spent:
            raise TimeUp

    def __str__(self) -> str:
        taken = f"{(self._clock() - self._began) / 60:.1f}"
        limit = "" if math.isinf(self._seconds) else f" of at most {self._seconds / 60:g}"
        return f"{taken}{limit} minutes"


def take_turns(
    contestants: Mapping[Key, Contestant],
    turns: int,
    budget: Budget,
    tell: Callable[[Key, dict[Key, list[float]]], None],
    say: Callable[[str], None],
) -> dict[Key, list[float]]:
    """Return the times of each contestant that was reached, one for each turn.

    The first turn is in the given order, so that what matters most is measured first; each later
    turn is in a new random one. A contestant runs once untimed before its first time.

    Args:
        contestants: by name; what is slow to build is built in the first call.
        turns: the number of times of each contestant, unless the budget ends before.
        budget: checked before each contestant but the first, so that one is measured in any case.
        tell: called with the name and all times so far after each first time of a contestant.
        say: called with a line after each turn, and for each contestant that is left out.
    """
    times: dict[Key, list[float]] = {}
    order = unmeasured = list(contestants)
    shuffled = random.Random(0)
    for turn in range(turns):
        for key in order:
            if budget.spent and times:
                missing = "; ".join(_name(key) for key in unmeasured)
                say(f"the time is up after {budget}{missing and f', without {missing}'}")
                return times
            unmeasured = unmeasured[1:]
            try:
                seconds = _time(contestants[key], turn)
            except LeftOut as reason:
                say(f"{_name(key)} is left out: {reason}")
                continue
            times.setdefault(key, []).append(seconds)
            if turn == 0:
                tell(key, times)
        order = shuffled.sample(list(times), len(times))
        say(f"turn {turn + 1} of {turns}, {budget}")
    return times


def _time(contestant: Contestant, turn: int) -> float:
    """Return the seconds of a contestant, which first runs once untimed in the first turn."""
    if turn == 0:
        contestant(turn)
    return contestant(turn)


def _name(key: object) -> str:
    return ", ".join(key) if isinstance(key, tuple) else str(key)
