"""Arrow schemas of what the ranking returns: one row per study, one row per pair of ranked backbones.

Every score, quality, interval end and difference is a fraction (0.913, not 91.3); a null means "not known",
and no column ever holds NaN.
"""

from __future__ import annotations

import pyarrow as pa

__all__ = ["PAIRS", "RANKING", "STATUSES"]

STATUSES = ("ranked", "dropped", "insufficient")

RANKING = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("backbone", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # one of STATUSES
        pa.field("reason", pa.string()),  # why it is dropped or insufficient; null where ranked
        # Place. Null where insufficient; of what a race dropped the interval alone.
        pa.field("rank", pa.int32()),  # 1-based, by score; equal scores share the better rank
        pa.field("rank_low", pa.int32()),  # best rank the backbone can still hold (attainable: the headline)
        pa.field("rank_high", pa.int32()),  # worst one
        pa.field("found_rank_low", pa.int32()),  # the same for the tuned configurations as they were found
        pa.field("found_rank_high", pa.int32()),
        pa.field("tied_with_leader", pa.bool_()),  # not distinguishable from the best score; true for it
        pa.field("p_best", pa.float64()),  # share of joint draws in which it is best; sums to 1 over a task
        # Score and its parts, chance-normalised: chance = 0, perfect = 1, clipped below at -0.2.
        pa.field("score", pa.float64()),
        pa.field("ci_low", pa.float64()),  # of `score`, attainable, one backbone at a time: seeds and test set below,
        pa.field("ci_high", pa.float64()),  # and unfinished tuning above
        pa.field("quality", pa.float64()),  # surface at the chosen configuration
        pa.field("quality_sd", pa.float64()),  # seeds and test set, without unfinished tuning
        pa.field("ease", pa.float64()),  # mean tuning curve over 1, 2, 4 and 8 random trials
        # Confirmations of the chosen configuration, in the test metric's own unit.
        pa.field("confirmation_mean", pa.float64()),  # null without a usable confirmation
        pa.field("confirmation_sd", pa.float64()),  # null with fewer than two
        pa.field("num_confirmations", pa.int32(), nullable=False),  # measured, collapsed ones included
        pa.field("num_collapsed", pa.int32(), nullable=False),  # of those, left out of the score
        pa.field("num_confirmations_lost", pa.int32(), nullable=False),  # failed, stopped or never tested
        # The chosen configuration. Null where no trial completed.
        pa.field("chosen_number", pa.int32()),
        pa.field("best_freeze_depth", pa.int32()),
        pa.field("best_tune_stop", pa.int32()),  # block after the last tuned one: num_blocks without a window
        pa.field("num_blocks", pa.int32()),
        pa.field("best_learning_rate", pa.float64()),  # null as well where every block is frozen
        pa.field("best_head_learning_rate", pa.float64()),
        pa.field("val_score", pa.float64()),  # of the chosen trial, as measured
        # Provenance.
        pa.field("test_metric", pa.string()),
        pa.field("chance", pa.float64()),
        pa.field("num_test", pa.int32()),
        pa.field("num_trials", pa.int32(), nullable=False),  # search trials, whatever their state
        pa.field("num_completed", pa.int32(), nullable=False),
        pa.field("num_stopped", pa.int32(), nullable=False),
        pa.field("num_failed", pa.int32(), nullable=False),
        pa.field("cost_s", pa.float64()),  # sum of duration_s over search trials and confirmations
        pa.field("run_cost_s", pa.float64()),  # mean duration_s of one run at the chosen configuration
    ]
)

PAIRS = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("a", pa.string(), nullable=False),  # the backbone with the higher score
        pa.field("b", pa.string(), nullable=False),
        pa.field("difference", pa.float64(), nullable=False),  # score of a minus score of b
        pa.field("ci_low", pa.float64(), nullable=False),  # simultaneous over all pairs of the task
        pa.field("ci_high", pa.float64(), nullable=False),
        pa.field("p_a_beats_b", pa.float64(), nullable=False),
        pa.field("p_tied", pa.float64(), nullable=False),  # P(|difference| < eps)
        pa.field("distinguishable", pa.bool_(), nullable=False),  # attainable claim, step-down max-|t|
    ]
)
