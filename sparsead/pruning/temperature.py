"""The temperature of a loss: its logits divided by a constant, whatever model computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode

from sparsead.errors import PruningError


@contextmanager
def divided_logits(temperature: float) -> Iterator[None]:
    """Divide the logits of every cross-entropy that is computed inside by the temperature.

    Raises:
        PruningError: none was computed, so that the temperature would have had no effect.
    """
    if temperature == 1:
        yield
        return
    division = _DividedLogits(temperature)
    with division:
        yield
    if not division.applied:
        raise PruningError(
            f"pruner.temperature={temperature:g}: divides the logits of a cross-entropy, and the "
            "loss has none; choose pruner.temperature=1"
        )


class _DividedLogits(TorchFunctionMode):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.applied = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function; of a cross-entropy, divide its first argument."""
        keywords = dict(kwargs or {})
        if func is cross_entropy:
            self.applied = True
            if args:
                args = (args[0] / self.temperature, *args[1:])
            else:
                keywords["input"] = keywords["input"] / self.temperature
        return func(*args, **keywords)
