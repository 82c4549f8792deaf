"""Why a network answers as it does, and whether the explanation is one: captum's explainers and their tests."""

from __future__ import annotations

from trainables.explain.answer import Answer
from trainables.explain.examination import Examination, examine
from trainables.explain.explainers import EXPLAINERS, Attribution, Explainer, Fit, explainers_for
from trainables.explain.extra import require_captum
from trainables.explain.faithfulness import Areas, areas, random_areas
from trainables.explain.pieces import Pieces, Readable, pieces_of
from trainables.explain.question import Network, Question
from trainables.explain.randomised import randomised

__all__ = [
    "EXPLAINERS",
    "Answer",
    "Areas",
    "Attribution",
    "Examination",
    "Explainer",
    "Fit",
    "Network",
    "Pieces",
    "Question",
    "Readable",
    "areas",
    "examine",
    "explainers_for",
    "pieces_of",
    "random_areas",
    "randomised",
    "require_captum",
]
