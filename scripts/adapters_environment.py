"""The separate environment for the package `adapters`, which needs an older transformers."""

from __future__ import annotations

import os
import subprocess
import venv
from importlib.metadata import version
from pathlib import Path

REQUIREMENTS = ("adapters==1.3.0", "transformers~=4.57.6", "accelerate>=1.10")


def adapters_python(timeout: float | None = None) -> Path:
    """Return the Python interpreter of the environment, which is created in the cache if needed.

    Args:
        timeout: the seconds that its installation may take; it takes minutes.

    Raises:
        subprocess.SubprocessError: it cannot be installed, or not in this time.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "sparsead" / "bench-adapters"
    python, ready = folder / "bin" / "python", folder / ".installed"
    installed = "\n".join((*REQUIREMENTS, f"torch=={version('torch').partition('+')[0]}"))
    if not ready.is_file() or ready.read_text("utf-8") != installed:
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", *installed.splitlines()]
        print(f"installing {REQUIREMENTS[0]} into {folder}, once", flush=True)
        subprocess.run(pip, check=True, timeout=timeout)
        ready.write_text(installed, "utf-8")
    return python
