"""Arrow schemas of what the ranking and the profiles return.

Every score, quality, interval end and difference is a fraction (0.913, not 91.3); a null means "not known",
and no column ever holds NaN.
"""

from __future__ import annotations

import pyarrow as pa

__all__ = [
    "AGGREGATE",
    "COMPARISON",
    "COST_LEADERS",
    "DEPTH_CURVES",
    "PAIRS",
    "PROFILES",
    "RANKING",
    "STATUSES",
    "SURFACE_MAPS",
    "TUNING_CURVES",
]

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
        # Null where not measured. The verdict says which conditions are in the score: robustness is shown even where
        # another backbone lacks it, so that it is in nobody's.
        pa.field("data_efficiency", pa.float64()),  # mean over the shares of the training set that all of a task have
        pa.field("data_efficiency_sd", pa.float64()),
        pa.field("robustness", pa.float64()),  # under perturbed inputs
        pa.field("robustness_sd", pa.float64()),
        pa.field("weight_stability", pa.float64()),  # share of weights around those used under which it is first
        # Confirmations of the chosen configuration, in the test metric's own unit.
        pa.field("confirmation_mean", pa.float64()),  # null without a usable confirmation
        pa.field("confirmation_sd", pa.float64()),  # null with fewer than two
        pa.field("num_confirmations", pa.int32(), nullable=False),  # measured, collapsed ones included
        pa.field("num_collapsed", pa.int32(), nullable=False),  # of those, left out of the score
        pa.field("num_confirmations_lost", pa.int32(), nullable=False),  # failed, stopped or never tested
        # Confirmations and reduced runs of what was chosen before the budget grew: in no number but cost_s.
        pa.field("num_superseded", pa.int32(), nullable=False),
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
        # Share of the planned runs (trials, confirmations, reduced) that gave a result: neither failed nor, after
        # training, without a test score, nor still to come. Where no plan is known, or a race made it: of those that
        # ended. Null of a table of scores.
        pa.field("coverage", pa.float64()),
        pa.field("cost_s", pa.float64()),  # sum of duration_s over all runs
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
        # Share of the pairs of single confirmations, as measured, in which a's has the higher test score.
        pa.field("p_single_run", pa.float64()),
        pa.field("distinguishable", pa.bool_(), nullable=False),  # attainable claim, step-down max-|t|
    ]
)

_STUDY = [pa.field("task", pa.string(), nullable=False), pa.field("backbone", pa.string(), nullable=False)]


def _measured(name: str) -> list[pa.Field]:
    return [pa.field(f"{name}{end}", pa.float64()) for end in ("", "_low", "_high")]


# What follows is in the test metric's own unit (accuracy 0.913), not chance-normalised. `low` and `high` are the
# ends of an interval at `RankingOptions.confidence`, of each number by itself.
PROFILES = pa.schema(
    [
        *_STUDY,  # all but these two are null for a study without enough runs to be ranked
        *_measured("lr_tolerance_decades"),  # decades of learning_rate within a point of the best, at the best depth
        *_measured("depth_cost"),  # lost at the worst depth, learning rate tuned anew; >= 0
        *_measured("probe_cost"),  # lost as a linear probe; null where no search trial was one
        pa.field("best_freeze_frac", pa.float64()),  # of the best point of the smoothed surface
        pa.field("quality", pa.float64()),  # surface at the chosen configuration, as RANKING's but not normalised
        pa.field("trial_cost_s", pa.float64()),  # mean duration of a completed random trial
        pa.field("cost_trials", pa.int32()),  # random trials until the expected score is within a point of `quality`
        pa.field("cost_s", pa.float64()),  # their duration one after the other; null where MOST_TRIALS do not reach it
        pa.field("run_cost_s", pa.float64()),  # mean duration of one run at the chosen configuration
        # Nobody of the task is better in one of (quality, cost_s) and not worse in the other; an unknown cost counts as
        # infinite.
        pa.field("on_pareto_front", pa.bool_()),
    ]
)

DEPTH_CURVES = pa.schema(  # the best score at each depth, learning rate tuned anew there
    [
        *_STUDY,
        pa.field("freeze_frac", pa.float64(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
    ]
)

SURFACE_MAPS = pa.schema(
    [
        *_STUDY,
        pa.field("freeze_frac", pa.float64(), nullable=False),
        pa.field("learning_rate", pa.float64()),  # null for the linear probe
        pa.field("score", pa.float64(), nullable=False),
        pa.field("sd", pa.float64(), nullable=False),
    ]
)

TUNING_CURVES = pa.schema(
    [
        *_STUDY,
        pa.field("estimator", pa.string(), nullable=False),  # replay or slice
        pa.field("num_trials", pa.int32(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),  # expected test score of the validation-best of so many
        pa.field("low", pa.float64()),  # null of a slice without a band: too few trials, or opda is not installed
        pa.field("high", pa.float64()),
        pa.field("cost_s", pa.float64()),  # so many trials one after the other; null where durations are unknown
    ]
)

COST_LEADERS = pa.schema(  # who is expected to be best for what may be spent on tuning it, by random search
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("from_s", pa.float64(), nullable=False),  # up to the next row's
        pa.field("backbone", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),  # expected there
    ]
)

AGGREGATE = pa.schema(
    [
        pa.field("backbone", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # complete, or incomplete: then all but the lists is null
        pa.field("missing_tasks", pa.list_(pa.string()), nullable=False),  # where it has no score
        pa.field("broken_tasks", pa.list_(pa.string()), nullable=False),  # at chance, most runs failed or collapsed
        pa.field("rank", pa.int32()),  # by anchored mean
        pa.field("rank_low", pa.int32()),  # attainable, simultaneously over all pairs
        pa.field("rank_high", pa.int32()),
        pa.field("p_best", pa.float64()),
        pa.field("anchored_mean", pa.float64()),
        pa.field("ci_low", pa.float64()),  # of the anchored mean, over these tasks
        pa.field("ci_high", pa.float64()),
        # These depend on who else is in the table.
        pa.field("mean_z_score", pa.float64()),
        pa.field("mean_rank", pa.float64()),  # 1 is best; the order of Borda's count
        pa.field("bradley_terry", pa.float64()),  # log strength, mean 0
        pa.field("interquartile_mean", pa.float64()),  # null with fewer than 8 tasks
    ]
)

COMPARISON = pa.schema(
    [
        *_STUDY,
        pa.field("status", pa.string(), nullable=False),  # both, only_a or only_b: who ranks it
        *[
            pa.field(f"{name}_{side}", kind)
            for side in ("a", "b")
            for name, kind in (
                *((name, pa.int32()) for name in ("rank", "rank_low", "rank_high")),
                *((name, pa.float64()) for name in ("score", "ci_low", "ci_high")),
            )
        ],
        # Null where one of the two does not rank it.
        pa.field("rank_change", pa.int32()),  # rank_b - rank_a among the backbones that both rank: < 0 is a rise
        pa.field("moved", pa.bool_()),  # the rank intervals of a and b do not overlap
        pa.field("difference", pa.float64()),  # score_b - score_a
        pa.field("difference_low", pa.float64()),  # of that backbone by itself; what was found, without tuning
        pa.field("difference_high", pa.float64()),
    ]
)
