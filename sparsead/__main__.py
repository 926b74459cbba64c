"""`python -m sparsead` is the same command line as `sparsead`."""

from __future__ import annotations

from sparsead.cli import main

if __name__ == "__main__":
    main()
