"""The other end of `train_peers.py`: contestants of bench_train.py that run in other processes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from turns import LeftOut


class Worker:
    """A process that runs the steps of its contestants on request, one at a time."""

    def __init__(self, python: Path, setup: dict[str, Any]) -> None:
        script = Path(__file__).with_name("train_peers.py")
        self._process = subprocess.Popen(
            [str(python), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TRANSFORMERS_VERBOSITY": "error"},
        )
        self._send(setup)

    def ask(self, **request: Any) -> Any:
        """Return the answer to one request.

        Raises:
            LeftOut: the process has ended; its own error is on stderr.
        """
        try:
            self._send(request)
        except BrokenPipeError:
            raise LeftOut("its process has ended") from None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LeftOut("its process has ended")
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()


class RemotePeer:
    """A contestant that runs in a worker; its `step` is like that of a Peer."""

    def __init__(self, worker: Worker, name: str, order: str, precision: str) -> None:
        self._worker = worker
        self._key = f"{name}/{order}/{precision}"
        worker.ask(do="build", arguments=[self._key, name, order, precision])

    def step(self, number: int) -> float:
        return float(self._worker.ask(do="step", key=self._key, number=number))
