"""Drivers killed at length: ``python -m benchmarks.chaos --kills 100``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from benchmarks.chaos.kills import kill_drivers
from benchmarks.machine import machine

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of drivers whose workers make up their results")
    parser.add_argument("--real", type=int, default=10, help="of drivers whose workers fine-tune")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--per-sweep", type=int, default=10, help="kills of one sweep")
    parser.add_argument("--side-by-side", type=int, default=2, help="sweeps at a time")
    chosen = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "seed": chosen.seed}
    broken = False
    for worker, num in (("made_up", chosen.kills), ("real", chosen.real)):
        if not num:
            continue
        killed = kill_drivers(
            num,
            seed=chosen.seed,
            per_sweep=chosen.per_sweep,
            side_by_side=chosen.side_by_side,
            worker=worker,  # type: ignore[arg-type]  # one of the two above
            say=lambda words: print(words, file=sys.stderr),
        )
        broken |= bool(killed.tally.broken)
        result[worker] = {
            "kills": dict(killed.kills),
            **killed.tally.to_dict(),
            "wall_s": round(killed.wall_s, 1),
        }
    print(json.dumps(result, indent=2))
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
