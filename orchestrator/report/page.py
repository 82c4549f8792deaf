"""The whole page: its sections, as small as they must be, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.ranking import Verdict
from orchestrator.report.across import across
from orchestrator.report.configuration import chosen
from orchestrator.report.document import Block, Figure, Missing, Prose, Section, all_blocks
from orchestrator.report.origin import origin, words
from orchestrator.report.outcome import outcome
from orchestrator.report.panel import panel
from orchestrator.report.pictures import embedded
from orchestrator.report.quality import adaptation, confusions, efficiency, few_labels, quality
from orchestrator.report.search import search_blocks
from orchestrator.report.spending import spending
from orchestrator.report.stress import calibration, drifted, explanations, robustness
from orchestrator.report.studies import StudyRecords, SweepRecords

__all__ = ["MAX_BYTES", "render"]

MAX_BYTES: Final = 2_000_000
_SPARE: Final = 10_000
"""Bytes that stay free."""

_EVALUATIONS: Final = (
    ("Quality", "quality", (adaptation, quality, few_labels, confusions)),
    ("Robustness and calibration", "stress", (robustness, calibration)),
    ("Inside", "inside", (drifted, explanations)),
    ("Efficiency", "efficiency", (efficiency,)),
)
"""Title, end of the anchor, and what belongs there."""

_PICTURED: Final = "inside"


def render(records: SweepRecords) -> str:
    """The page, of at most `MAX_BYTES` unless its tables alone are larger.

    Where there are too many backbones, the charts of the last ones give way to their tables; then pictures
    take what room is left.
    """
    page = _Page(records)
    for anchor in page.last_first():
        if page.room() >= 0:
            break
        page.backbones[anchor] = _without_charts(page.backbones[anchor])
    for anchor, pictures in embedded(records.studies, page.room()).items():
        page.add(anchor, pictures)
    return page.html()


class _Page:
    """The parts of a page; those of single backbones may still be changed."""

    def __init__(self, records: SweepRecords) -> None:
        self._records = records
        self._verdicts = records.ranking.verdicts
        self.backbones: dict[str, Section] = {study.anchor: _backbone(study) for study in records.studies}
        self._around: dict[str, tuple[Section, list[Section]]] = {
            verdict.task: self._of_task(verdict, f"t{place}") for place, verdict in enumerate(self._verdicts)
        }
        self._panel = panel(records.ranking, records.studies)
        self._end = [*spending(records.studies), *origin(records), words()]
        self._template = Environment(
            loader=PackageLoader("orchestrator.report", "."),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        ).get_template("page.html.j2")

    def _of_task(self, verdict: Verdict, anchor: str) -> tuple[Section, list[Section]]:
        beside = across(self._records, verdict.task, anchor)
        own = [self.backbones[study.anchor] for study in self._records.of_task(verdict.task)]
        return outcome(verdict, self._records, all_blocks([*own, *beside]), anchor), beside

    def add(self, anchor: str, pictures: Block) -> None:
        """Pictures of the backbone with this anchor."""
        section = self.backbones[anchor]
        parts = [
            replace(part, blocks=[*part.blocks, pictures]) if part.anchor == f"{anchor}-{_PICTURED}" else part
            for part in section.sections
        ]
        self.backbones[anchor] = replace(section, sections=parts)

    def last_first(self) -> list[str]:
        """Anchors of all backbones, worst places first."""
        places: dict[str, int] = {}
        for verdict in self._verdicts:
            places |= {study.anchor: at for at, study in enumerate(self._records.of_task(verdict.task))}
        return sorted(places, key=lambda anchor: -places[anchor])

    def room(self) -> int:
        """Bytes that may still be added; negative where there are too many."""
        return MAX_BYTES - _SPARE - len(self.html().encode())

    def html(self) -> str:
        tasks = [
            Section(
                title=f"Task {verdict.task}",
                anchor=f"t{place}",
                sections=self._sections(verdict, f"t{place}"),
            )
            for place, verdict in enumerate(self._verdicts)
        ]
        first = tasks if len(tasks) > 1 else [part for task in tasks for part in task.sections]
        return self._template.render(
            title=f"{self._records.facts.get('name', 'Sweep')}: which backbone adapts best",
            about=_about(self._records),
            sections=[*self._panel, *first, *self._end],
            depth=3 if len(tasks) > 1 else 2,  # down to the backbones
        )

    def _sections(self, verdict: Verdict, anchor: str) -> list[Section]:
        said, side_by_side = self._around[verdict.task]
        studies = self._records.of_task(verdict.task)
        each = Section(
            title="Each backbone",
            anchor=f"{anchor}-backbones",
            sections=[self.backbones[study.anchor] for study in studies],
        )
        return [said, each, Section(title="Side by side", anchor=f"{anchor}-across", sections=side_by_side)]


def _about(records: SweepRecords) -> str:
    facts: Mapping[str, object] = records.facts
    tasks = [verdict.task for verdict in records.ranking.verdicts]
    num = len({study.backbone for study in records.studies})
    parts = [
        f"sweep {records.folder.sweep_id}",
        f"started {str(facts['created_at'])[:16].replace('T', ' ')} UTC" if "created_at" in facts else "",
        f"{num} backbone{'s' * (num != 1)}",
        f"task{'s' * (len(tasks) != 1)} {', '.join(tasks)}" if tasks else "no task",
    ]
    return " · ".join(part for part in parts if part)


def _backbone(study: StudyRecords) -> Section:
    """Its configuration, and all else folded away: of the first one it is open."""
    parts = [Section(title="Search", anchor=f"{study.anchor}-search", blocks=search_blocks(study))]
    if study.confirmations:
        for title, end, evaluations in _EVALUATIONS:
            blocks = [block for evaluation in evaluations for block in evaluation(study)]
            parts.append(Section(title=title, anchor=f"{study.anchor}-{end}", blocks=blocks))
        if study.evaluated.notes:
            notes = Prose(paragraphs=study.evaluated.notes)
            parts.append(Section(title="Notes of its evaluation", anchor=f"{study.anchor}-notes", blocks=[notes]))
    else:
        how = "no confirmation was completed, and only confirmations are evaluated"
        missing = Missing(what="Quality, robustness, calibration and efficiency", of=study.short, how=how)
        parts.append(Section(title="Quality", anchor=f"{study.anchor}-quality", blocks=[missing]))
    return Section(
        title=study.short,
        anchor=study.anchor,
        blocks=[chosen(study)] if study.row["chosen_number"] is not None else [],
        sections=parts,
        color=study.color,
        folded=f"Search, charts and measures of {study.short}",
        opened=study.row["rank"] == 1,
    )


def _without_charts(section: Section) -> Section:
    """Charts give way to the tables of their numbers."""
    how = "there are too many backbones for one page; a sweep of fewer has them"
    parts = [replace(part, blocks=_tables(part.blocks)) for part in section.sections]
    missing = Missing(what="Charts of this backbone", how=how, label="Not shown")
    return replace(section, blocks=[*section.blocks, missing], sections=parts)


def _tables(blocks: Sequence[Block]) -> list[Block]:
    kept = [block.table if isinstance(block, Figure) else block for block in blocks]
    return [block for block in kept if block is not None]
