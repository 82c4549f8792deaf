"""Rankers and races against known truth: `python -m benchmarks.ranking_truth`.

Simulated backbones of several scenarios are searched (Optuna's TPE after random trials), ranked by usual practice,
by the mean of confirmations and by the shipped ranker, and compared with what each could reach. With --race they are
raced as well. With --keep FILE worlds that are done are remembered, and not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.machine import machine
from benchmarks.ranking_truth.figures import against_aims, averages
from benchmarks.ranking_truth.rankers import CONFIRMATIONS, RANKERS
from benchmarks.ranking_truth.scenario import SCENARIOS
from benchmarks.ranking_truth.worlds import NUM_RANDOM, RACE_CAP, Job, one_thread, run

__all__ = ["main"]

Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=100, help="per scenario")
    parser.add_argument("--first", type=int, default=0, help="seed of the first world")
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--trials", type=int, nargs="+", choices=CONFIRMATIONS, default=list(CONFIRMATIONS))
    parser.add_argument("--race", action="store_true", help="race in every world as well")
    parser.add_argument("--no-rank", action="store_true", help="only race")
    parser.add_argument("--quick", action="store_true", help="two worlds of one scenario: shows that it runs")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--keep", type=Path, help="JSON lines of worlds that are done; made for one version of the ranker"
    )
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.worlds, chosen.scenarios, chosen.trials = 2, chosen.scenarios[:1], [12]
    kinds = [kind for kind, wanted in (("rank", not chosen.no_rank), ("race", chosen.race)) if wanted]
    jobs = [
        Job(
            kind=kind,
            scenario=scenario,
            seed=seed,
            trials=tuple(sorted(chosen.trials)) if kind == "rank" else (RACE_CAP,),
        )
        for seed in range(chosen.first, chosen.first + chosen.worlds)
        for kind in kinds
        for scenario in chosen.scenarios
    ]
    before = machine()
    begun = time.perf_counter()
    results = list(_results(jobs, chosen.jobs, chosen.keep))
    document = {
        "machine": before,
        "worlds": chosen.worlds,
        "first_seed": chosen.first,
        "num_random": NUM_RANDOM,
        "confirmations": {str(trials): CONFIRMATIONS[trials] for trials in chosen.trials},
        "wall_s": round(time.perf_counter() - begun, 1),
        "rankings": {name: _rankings(name, results) for name in chosen.scenarios if "rank" in kinds},
        "races": {name: _races(name, results) for name in chosen.scenarios if "race" in kinds},
    }
    print(json.dumps(document, indent=2))


def _results(jobs: Sequence[Job], processes: int, keep: Path | None) -> Iterator[Result]:
    """Of every job, in any order; those in `keep` are read from there, the others are added."""
    wanted = {_key(vars(job)): job for job in jobs}
    if keep is not None and keep.exists():
        for line in keep.read_text(encoding="utf-8").splitlines():
            result = json.loads(line)
            if wanted.pop(_key(result), None) is not None:
                yield result
    for index, result in enumerate(_run_all(list(wanted.values()), processes)):
        if keep is not None:
            with keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
        print(f"{index + 1}/{len(wanted)} {result['kind']} {result['scenario']} {result['seed']}", file=sys.stderr)
        yield result


def _run_all(jobs: Sequence[Job], processes: int) -> Iterator[Result]:
    with threadpool_limits(1):
        if processes == 1:
            yield from map(run, jobs)
            return
        with get_context("spawn").Pool(processes, one_thread) as pool:
            yield from pool.imap_unordered(run, jobs)


def _key(fields: dict[str, Any]) -> tuple[Any, ...]:
    return fields["kind"], fields["scenario"], fields["seed"], tuple(fields["trials"])


def _rankings(scenario: str, results: Sequence[Result]) -> dict[str, Any]:
    """Ranker -> trials -> figures, averaged, with what was aimed at."""
    found = [result["found"] for result in results if (result["kind"], result["scenario"]) == ("rank", scenario)]
    table: dict[str, Any] = {}
    for ranker in RANKERS:
        for trials in found[0][ranker]:
            figures = averages([world[ranker][trials] for world in found])
            aims = against_aims(scenario, ranker, int(trials), figures)
            table.setdefault(ranker, {})[trials] = {**figures, **({"aims": aims} if aims else {})}
    return table


def _races(scenario: str, results: Sequence[Result]) -> dict[str, Any]:
    """Outcome -> how many races ended so, what they took, and how often their first was good."""
    found = [result["found"] for result in results if (result["kind"], result["scenario"]) == ("race", scenario)]
    groups = {"all": found}
    for race in found:
        groups.setdefault(race["outcome"], []).append(race)
    return {
        outcome: {
            "races": len(members),
            **averages(
                [
                    {
                        "trials": race["trials"],
                        "share_of_budget": race["trials"] / race["budget"],
                        "good": float(race["good"]),
                        "leader_good": float(race["leader_good"]),
                        "best_dropped": float(race["best_dropped"]),
                    }
                    for race in members
                ]
            ),
        }
        for outcome, members in groups.items()
    }


if __name__ == "__main__":
    main()
