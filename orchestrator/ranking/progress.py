"""How far the studies of a task came, of what was planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.ranking.options import Planned
from orchestrator.ranking.score import Evidence
from orchestrator.ranking.study import Study
from orchestrator.ranking.verdict import listed

__all__ = ["Progress"]


class Progress:
    """
    Args:
        evidence: of the studies of one task of which a run has ended, at least one.
        planned: study -> the runs it was to have, of the same task; of studies it lacks that is not known.
    """

    def __init__(self, evidence: Sequence[Evidence], planned: Mapping[str, Planned]) -> None:
        self._evidence = sorted(evidence, key=lambda item: item.study.backbone)
        self._planned = planned
        begun = {_key(item.study) for item in evidence}
        self.absent = sorted(study.partition(":")[2] for study in planned if study not in begun)
        """Backbones of which no run has ended."""

    def planned(self, item: Evidence) -> Planned | None:
        """None where nobody knows."""
        return self._planned.get(_key(item.study))

    def sentences(self) -> Iterator[str]:
        """What is still to come, and what that means for what is said now."""
        unfinished = [
            f"{item.study.backbone} has {listed(short)}" for item in self._evidence if (short := self._short(item))
        ]
        unfinished += [f"{backbone} has no finished run" for backbone in self.absent]
        if unfinished:
            yield f"The sweep has not come to its end: {'; '.join(unfinished)}."
        for item in self._evidence:
            if item.awaited is not None and item.chosen is not None:
                yield (
                    f"{item.study.backbone}: trial {item.awaited.number} is chosen on validation by now and is not "
                    f"confirmed yet; what stands here is trial {item.chosen.number}, chosen from fewer trials."
                )

    def _short(self, item: Evidence) -> list[str]:
        """Of what the study has less than planned, how much it has."""
        plan, study = self.planned(item), item.study
        if plan is None or plan.trials is None:
            return []
        counts = [(len(study.search), plan.trials, "trials")]
        if item.chosen is not None:  # without one there is nothing to confirm, ever
            counts += [
                (len(study.confirmations) * (item.awaited is None), plan.confirmations, "confirmations"),
                (len(study.reduced) * (item.awaited is None), plan.reduced, "runs on less data"),
            ]
        return [f"{there} of {of} {what}" for there, of, what in counts if there < of]


def _key(study: Study) -> str:
    return f"{study.task}:{study.backbone}"
