"""How long it takes to rank a table of a million trials: `python -m benchmarks.ranking_scale`.

The tables are made up column by column (the scores on a smooth surface, with noise) and ranked in this process: by
default 20 studies (4 tasks of 5 backbones) of 50,000 trials, each trial with a test score and the correctness of
1,000 examples, and 8 confirmations of what `choose` chooses.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import pstats
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.machine import machine
from orchestrator.ranking import choose, rank
from orchestrator.records import TESTS, TRIALS

__all__ = ["made_up", "main"]

SEED: Final = 0
NUM_BLOCKS: Final = 12
NUM_VAL: Final = 500
CHANCE: Final = 0.1
_CONFIG: Final = '{"backbone": "timm/made_up", "optimizer": "adamw", "schedule": "cosine", "seed": %d}'

Columns = dict[str, Any]


def made_up(
    num_tasks: int, num_backbones: int, num_trials: int, num_test: int, confirmations: int
) -> tuple[pa.Table, pa.Table]:
    """TRIALS and TESTS of so many studies; `num_trials` of each, confirmations not counted."""
    rng = np.random.default_rng(SEED)
    trials, tests = [], []
    for task in range(num_tasks):
        for backbone in range(num_backbones):
            names = f"task{task}", f"backbone{backbone}"
            search, levels = _search(*names, num_trials, rng)
            best = choose(search)
            confirmed = _repeated(search.slice(best, 1), num_trials, confirmations)
            trials += [search, confirmed]
            levels = np.concatenate([levels, np.full(confirmations, levels[best])])
            tests.append(_tested(*names, levels, num_test, rng))
    return pa.concat_tables(trials), pa.concat_tables(tests)


def _search(task: str, backbone: str, num: int, rng: np.random.Generator) -> tuple[pa.Table, Any]:
    """A study's search trials and their expected scores. The first hundredth is random, the rest near the best."""
    depth = rng.integers(0, NUM_BLOCKS, num)
    spread = np.where(np.arange(num) < max(num // 100, 5), 1.5, 0.5)
    rate = np.clip(-3.0 + rng.uniform(-0.5, 0.5) + spread * rng.uniform(-1, 1, num), -5.0, -2.0)
    head = rng.uniform(-3.0, -1.0, num)
    level = rng.uniform(0.8, 0.9) - 0.02 * (rate + 3.0) ** 2 - 0.03 * (depth / NUM_BLOCKS - 0.4) ** 2
    score = np.round((level + rng.normal(0, 0.01, num)) * NUM_VAL) / NUM_VAL
    state = np.where(rng.random(num) < 0.1, "failed", "completed")
    columns: Columns = {
        "study": [f"{task}:{backbone}"] * num,
        "number": np.arange(num, dtype=np.int32),
        "task": [task] * num,
        "backbone": [backbone] * num,
        "phase": np.where(np.arange(num) < max(num // 100, 5), "random", "tpe"),
        "state": state,
        "seed": rng.integers(0, 2**31, num),
        "freeze_depth": depth.astype(np.int32),
        "tune_stop": np.full(num, NUM_BLOCKS, dtype=np.int32),
        "num_blocks": np.full(num, NUM_BLOCKS, dtype=np.int32),
        "freeze_frac": depth / NUM_BLOCKS,
        "learning_rate": 10.0**rate,
        "head_learning_rate": 10.0**head,
        "weight_decay": 10.0 ** rng.uniform(-5, -1, num),
        "layer_decay": rng.uniform(0.6, 1.0, num),
        "head_init": ["random"] * num,
        "stay_near": np.zeros(num),
        "batch_size": np.full(num, 32, dtype=np.int32),
        "max_epochs": np.full(num, 3, dtype=np.int32),
        "train_frac": np.ones(num),
        "config": [_CONFIG % number for number in range(num)],
        "epochs": np.full(num, 3, dtype=np.int32),
        "metric": ["accuracy"] * num,
        "val_score": pa.array(score, mask=state == "failed"),
        "num_val": np.full(num, NUM_VAL, dtype=np.int32),
        "duration_s": rng.uniform(5.0, 60.0, num),
    }
    return _table(columns, TRIALS, num), level


def _repeated(chosen: pa.Table, first: int, num: int) -> pa.Table:
    [row] = chosen.to_pylist()
    rows = [row | {"number": first + index, "phase": "confirmation", "seed": index} for index in range(num)]
    return pa.Table.from_pylist(rows, schema=TRIALS)


def _tested(task: str, backbone: str, levels: Any, num_test: int, rng: np.random.Generator) -> pa.Table:
    """A test result of every run. Of all bits a few patterns, one per percent of accuracy, so that this is quick."""
    num = len(levels)
    patterns = [np.packbits(rng.random(num_test) < percent / 100).tobytes() for percent in range(101)]
    percents = np.clip(np.round(100 * levels + rng.normal(0, 1, num)), 0, 100).astype(int)
    columns: Columns = {
        "study": [f"{task}:{backbone}"] * num,
        "number": np.arange(num, dtype=np.int32),
        "metric": ["accuracy"] * num,
        "test_score": percents / 100,
        "test_loss": 1.0 - percents / 100,
        "chance": np.full(num, CHANCE),
        "num_test": np.full(num, num_test, dtype=np.int32),
        "correct": [patterns[percent] for percent in percents],
    }
    return _table(columns, TESTS, num)


def _table(columns: Columns, schema: pa.Schema, num: int) -> pa.Table:
    """The rest of the schema's columns is null."""
    arrays = [
        pa.array(columns[field.name], type=field.type) if field.name in columns else pa.nulls(num, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _profiled(trials: pa.Table, tests: pa.Table) -> str:
    profile = cProfile.Profile()
    profile.runcall(rank, trials, tests)
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(25)
    return text.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--backbones", type=int, default=5, help="per task")
    parser.add_argument("--trials", type=int, default=50_000, help="per backbone and task")
    parser.add_argument("--examples", type=int, default=1_000, help="of each test set")
    parser.add_argument("--confirmations", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a thousandth of the trials: shows that it runs")
    parser.add_argument("--profile", action="store_true", help="where the time goes, on stderr")
    chosen = parser.parse_args(arguments)
    num_trials = max(chosen.trials // 1_000, 20) if chosen.quick else chosen.trials
    before = machine()
    trials, tests = made_up(chosen.tasks, chosen.backbones, num_trials, chosen.examples, chosen.confirmations)
    if chosen.profile:
        print(_profiled(trials, tests), file=sys.stderr)
    walls, cpus = [], []
    for _ in range(chosen.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        ranking = rank(trials, tests)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    document = {
        "machine": before,
        "seed": SEED,
        "studies": chosen.tasks * chosen.backbones,
        "rows": {"trials": trials.num_rows, "tests": tests.num_rows},
        "table_mib": round((trials.nbytes + tests.nbytes) / 2**20),
        "ranked": sum(status == "ranked" for status in ranking.table["status"].to_pylist()),
        "rank_wall_s": [round(value, 2) for value in walls],
        "rank_cpu_s": [round(value, 2) for value in cpus],
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
