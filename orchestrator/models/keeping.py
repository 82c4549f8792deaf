"""Keep a confirmation's network as a model that predicts by itself, and never lose the run over it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import one_line, redact
from orchestrator.models.merit import merit
from orchestrator.workers.request import RunRequest
from trainables.errors import TrainableError
from trainables.exported.facts import read_facts
from trainables.exported.saving import save_model
from trainables.finetune import Finetuner
from trainables.validation import require_best

__all__ = ["keep_model"]

_MAX_REASON: Final = 300


def keep_model(finetuner: Finetuner, request: RunRequest, test_score: float) -> str | None:
    """Save the network of a confirmation in `request.model_folder`, unless a better one of its configuration is there.

    Of the confirmations of one configuration the best on validation is kept: the others are removed as soon as a
    better one is there, so that a study has one network on disk and not one per seed. Test scores have no say.

    Returns:
        Why the network could not be kept; None where it was, or need not be.
    """
    folder = Path(str(request.model_folder))
    origin = {
        "sweep": Path(request.test_file).parents[1].name,
        "study": request.study,
        "number": request.number,
        "seed": request.config.seed,
    }
    mine = merit(require_best(finetuner.best).val_score, request.number)
    try:
        if any(standing > mine for standing in _others(folder, request).values()):
            return None
        save_model(folder, finetuner, test_score=test_score, origin=origin)
        for other, standing in _others(folder, request).items():
            if standing < mine:
                shutil.rmtree(other, ignore_errors=True)
    except Exception as error:  # whatever a library does not write: the run's result is there already
        logging.getLogger(__name__).warning("no model of %s #%d", request.study, request.number, exc_info=True)
        reason = str(error) if isinstance(error, TrainableError) else f"{type(error).__name__}: {error}"
        return f"its network could not be kept as a model: {one_line(redact(reason))[:_MAX_REASON]}"
    return None


def _others(folder: Path, request: RunRequest) -> dict[Path, tuple[float, int]]:
    """Networks that other confirmations of the same configuration have left, with what decides between them."""
    found = {}
    for other in folder.parent.glob("[0-9]*"):
        if other == folder:
            continue
        try:
            facts = read_facts(other)
        except TrainableError:  # removed meanwhile, by whoever left a better one
            continue
        if _without_seed(facts.config) == _without_seed(asdict(request.config)):
            found[other] = merit(facts.val_score, int(facts.origin["number"]))
    return found


def _without_seed(config: Mapping[str, Any]) -> str:
    """As text, since JSON has lists where Python has tuples."""
    return json.dumps({name: value for name, value in config.items() if name != "seed"}, sort_keys=True)
