"""The part of a ranking's row that is the study's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from orchestrator.ranking.options import Planned
from orchestrator.ranking.score import Evidence
from orchestrator.ranking.study import REPEATS, Study

__all__ = ["absent_row", "study_row"]


def absent_row(task: str, backbone: str) -> dict[str, Any]:
    """Of a study that was planned, and of which no run has ended."""
    none = (
        "confirmations",
        "collapsed",
        "confirmations_lost",
        "superseded",
        "trials",
        "completed",
        "stopped",
        "failed",
    )
    return {
        "task": task,
        "backbone": backbone,
        "status": "insufficient",
        "reason": "no run has ended",
        "coverage": 0.0,
        **{f"num_{name}": 0 for name in none},
    }


def study_row(item: Evidence, planned: Planned | None = None) -> dict[str, Any]:
    """The columns that every study has, ranked or not."""
    study, chosen = item.study, item.chosen
    scores = [result.score for result in item.results]
    result = next(iter(study.tests.values()), None)
    costs = np.concatenate([runs.numbers_in("duration_s") for runs in (study.runs, item.superseded)])
    costs = costs[np.isfinite(costs)]
    search = study.search
    row: dict[str, Any] = {
        "task": study.task,
        "backbone": study.backbone,
        "confirmation_mean": float(np.mean(scores)) if scores else None,
        "confirmation_sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "num_confirmations": item.num_confirmations,
        "num_collapsed": item.num_collapsed,
        "num_confirmations_lost": sum(
            run.state != "completed" or run.number not in study.tests for run in study.confirmations
        ),
        "num_superseded": len(item.superseded),
        "num_blocks": study.runs[0].num_blocks,
        "test_metric": result.metric if result else study.runs[0].metric,
        "chance": result.chance if result else None,
        "num_test": result.example_scores.size if result else None,
        "num_trials": len(search),
        "num_completed": int(search.among("state", ["completed"]).sum()),
        "num_stopped": int(search.among("state", ["stopped"]).sum()),
        "num_failed": int(search.among("state", ["failed"]).sum()),
        "coverage": _coverage(study, planned),
        "cost_s": math.fsum(costs) if len(costs) else None,
    }
    if chosen is not None:
        again = [run.duration_s for run in [*item.confirmed, chosen] if run.duration_s is not None]
        row |= {
            "chosen_number": chosen.number,
            "best_freeze_depth": chosen.freeze_depth,
            "best_tune_stop": chosen.tune_stop,
            "best_learning_rate": chosen.learning_rate,
            "best_head_learning_rate": chosen.head_learning_rate,
            "val_score": chosen.val_score,
            "run_cost_s": float(np.mean(again)) if again else None,
        }
    return row


def _coverage(study: Study, planned: Planned | None) -> float:
    tried = ~study.runs.among("phase", REPEATS)
    numbers = study.runs.numbers_in("number")[~tried].astype(int)
    done = study.runs.among("state", ["completed"])
    tested = np.isin(numbers, list(study.tests))
    num_results = int((tried & (done | study.runs.among("state", ["stopped"]))).sum()) + int(
        (done[~tried] & tested).sum()
    )
    num_planned = len(study.runs)
    if planned is not None and planned.trials is not None:
        num_planned = planned.trials + planned.confirmations + planned.reduced
    return min(1.0, num_results / num_planned)
