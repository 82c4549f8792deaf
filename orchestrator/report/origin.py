"""Where the numbers come from: data, versions, seeds, and the command that makes them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from orchestrator.errors import redact
from orchestrator.report.document import Block, Code, Facts, Missing, Prose, Section, Table
from orchestrator.report.studies import StudyRecords, SweepRecords
from orchestrator.report.wording import DASH, listed, scale, shortened

__all__ = ["origin", "words"]

_LONGEST_CONFIG: Final = 40_000
_WORDS: Final = (
    ("Backbone, block, head", "a pretrained model; its ordered parts from the input side; the new layer for the task"),
    ("Frozen", "leading blocks that stay as pretrained, of all; 0 is full fine-tuning, all is a linear probe"),
    ("Trial", "one configuration, fine-tuned once to search"),
    ("Confirmation", "the chosen configuration, trained again with a fresh seed; only these carry the headline"),
    ("Score", "test metric with chance at 0 and perfect at 100, averaged over conditions of use"),
    ("Attainable and found", "the claim about the backbones, and the one about the tuned configurations alone"),
    ("Stopped, failed", "ended by the scheduler before its last epoch; ended by an error"),
    ("Superseded", "a confirmation of what was chosen before the sweep was given more trials: spent, and in no result"),
    ("Collapsed", "a confirmation far below the others of its backbone: counted, and left out of every mean"),
)


def origin(records: SweepRecords) -> list[Section]:
    """Notes on the data, then how to get the same numbers again."""
    return [
        Section(title="Data", anchor="data", blocks=_data(records)),
        Section(title="Reproducing this", anchor="reproduce", blocks=_reproduce(records)),
    ]


def words() -> Section:
    """The words used on the page."""
    return Section(title="Words", anchor="words", blocks=[Facts(items=_WORDS)])


def _data(records: SweepRecords) -> list[Block]:
    known = records.facts.get("studies", [])
    if not known:
        return [Missing(what="The data", how="the sweep ended before its data was read")]
    first: dict[str, dict[str, Any]] = {}
    notes: dict[str, None] = {}
    for study in known:
        task = study["study"].partition(":")[0]
        first.setdefault(task, study)
        notes |= {f"{task}: {note}": None for note in study.get("notes", ())}
    rows = tuple(
        (
            task,
            f"{study['kind']} of {study['modality']}",
            *(str(study[name]) for name in ("num_train", "num_val", "num_test", "num_classes")),
            scale(study["metric"]).name,
            scale(study["metric"]).text(study["chance"]),
            study["digest"][:12],
        )
        for task, study in first.items()
    )
    blocks: list[Block] = [
        Table(
            caption="Each task as its first study saw it; chance is the metric of the best constant answer",
            columns=("task", "kind", "train", "validation", "test", "classes", "metric", "chance", "digest"),
            rows=rows,
            words=frozenset({1, 6, 8}),
        ),
        Table(
            caption="What a sample is to each backbone",
            columns=("study", "sample", "blocks"),
            rows=tuple((study["study"], study["input"], str(study["num_blocks"])) for study in known),
            words=frozenset({1}),
            folded=True,
        ),
    ]
    return [*blocks, Prose(paragraphs=tuple(notes) or ("There is nothing odd to say about the data.",))]


def _reproduce(records: SweepRecords) -> list[Block]:
    facts = records.facts
    settings = facts.get("settings", {})
    commit = facts.get("git_commit")
    dirty = ", with changes that were not committed" if facts.get("git_dirty") else ""
    items = [
        ("Sweep", records.folder.sweep_id),
        ("Started", str(facts.get("created_at", DASH))),
        ("This program", f"version {facts.get('version', DASH)}, commit {commit or 'unknown'}{dirty}"),
        ("Seed of the search", str(settings.get("search.seed", DASH))),
        ("Seeds of the confirmations", _seeds(records.studies)),
        ("Space, digest", str(settings.get("search.space", DASH))),
        ("Nodes", listed(_nodes(records.studies)) or DASH),
    ]
    items += [(str(name), str(value)) for name, value in facts.get("versions", {}).items()]
    blocks: list[Block] = [
        Prose(
            paragraphs=(
                "The same commit, versions, data and seeds give the same numbers on the same kind of device, apart "
                "from times. The sweep file is below, and in the sweep's folder.",
            )
        ),
        Code(title="The command", text="python -m orchestrator sweep sweep.yaml"),
        Facts(items=tuple((name, redact(value)) for name, value in items)),
    ]
    if settings:
        rows = tuple((str(name), redact(str(value))) for name, value in settings.items())
        caption = "Search and budget"
        blocks.append(
            Table(caption=caption, columns=("setting", "value"), rows=rows, words=frozenset({1}), folded=True)
        )
    if records.config_yaml:
        blocks.append(
            Code(title="sweep.yaml", text=shortened(redact(records.config_yaml), _LONGEST_CONFIG), folded=True)
        )
    return blocks


def _seeds(studies: Sequence[StudyRecords]) -> str:
    seeds = list(dict.fromkeys(run["seed"] for study in studies for run in study.confirmations))
    return shortened(", ".join(str(seed) for seed in seeds), 200) or "no confirmation"


def _nodes(studies: Sequence[StudyRecords]) -> list[str]:
    return sorted({run["node"] for study in studies for run in study.runs if run["node"]})
