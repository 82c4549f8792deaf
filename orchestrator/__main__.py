"""``python -m orchestrator``."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - pip refuses it, a checkout does not
        version = ".".join(map(str, sys.version_info[:3]))
        print(f"error: Python must be at least 3.11, got {version}; run it with another", file=sys.stderr)
        raise SystemExit(4)
    from orchestrator.cli import run

    run()
