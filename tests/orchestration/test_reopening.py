"""A sweep goes on as it began, or with more budget, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from twin import small_config

from orchestrator.config import load_sweep, resolved_yaml
from orchestrator.errors import UsageError
from orchestrator.folder import FINISHED_AT, SweepFolder
from orchestrator.reopening import extend, reopen


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    text = resolved_yaml(small_config(storage=str(tmp_path)), redacted=True)
    made = SweepFolder.create(tmp_path, "small", text)
    made.write_facts({"config": text, "settings": {"budget.trials": 4}, "studies": []})
    return made


def edit(folder: SweepFolder, old: str, new: str) -> None:
    text = folder.config_file.read_text()
    assert old in text
    folder.config_file.write_text(text.replace(old, new))


def test_an_untouched_file_is_the_configuration_it_was(folder: SweepFolder) -> None:
    assert reopen(folder) == load_sweep(folder.config_file)


def test_a_changed_file_is_refused_with_the_difference(folder: SweepFolder) -> None:
    edit(folder, "max_epochs: 2", "max_epochs: 3")
    edit(folder, "batch_size: 40", "batch_size: 20")
    with pytest.raises(UsageError) as refused:
        reopen(folder)
    assert "budget.max_epochs: was 2, is 3" in str(refused.value)
    assert "finetune.batch_size: was 40, is 20" in str(refused.value)
    assert "put it back" in str(refused.value)


def test_a_folder_may_be_moved(folder: SweepFolder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    folder.path.rename(other / folder.sweep_id)
    assert reopen(SweepFolder(other / folder.sweep_id)).storage == str(other)


def test_resources_alone_may_be_others(folder: SweepFolder) -> None:
    assert reopen(folder, ["resources.max_concurrent=1"]).resources.max_concurrent == 1
    with pytest.raises(UsageError, match=r"got --set 'seed=1'; for more trials: .* --extend"):
        reopen(folder, ["seed=1"])
    assert "max_concurrent: auto" in folder.config_file.read_text(), "for this time only"


def test_more_budget_is_granted_for_good(folder: SweepFolder) -> None:
    folder.write_facts(folder.read_facts() | {FINISHED_AT: "2026"})
    extend(folder, ["budget.trials=9", "confirmation.seeds=3", "confirmation.train_fracs=[0.3]"])
    config = reopen(folder)
    assert (config.budget.trials, config.confirmation.seeds, config.confirmation.train_fracs) == (9, 3, (0.3,))
    facts = folder.read_facts()
    assert facts["settings"]["budget.trials"] == 9
    assert FINISHED_AT not in facts


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("budget.trials=3", "budget.trials: 4 -> 3"),
        ("confirmation.seeds=1", "confirmation.seeds: 2 -> 1"),
        ("budget.max_epochs=9", "budget.max_epochs: 2 -> 9"),
        ("seed=5", "seed: 0 -> 5"),
        ("backbones.0=timm/resnet18", "backbones: "),
        ("budget.trials=4", "must grant more"),
    ],
)
def test_less_or_something_else_is_refused(folder: SweepFolder, override: str, said: str) -> None:
    before = folder.config_file.read_text()
    with pytest.raises(UsageError) as refused:
        extend(folder, [override])
    assert said in str(refused.value)
    assert folder.config_file.read_text() == before


def test_an_extension_that_was_killed_between_its_two_writes_is_finished(folder: SweepFolder) -> None:
    before = folder.config_file.read_text()
    extend(folder, ["budget.trials=9"])
    folder.config_file.write_text(before)
    assert reopen(folder).budget.trials == 9


def test_of_an_earlier_version_there_is_nothing_to_compare(folder: SweepFolder) -> None:
    facts = folder.read_facts()
    del facts["config"]
    folder.write_facts(facts)
    edit(folder, "max_epochs: 2", "max_epochs: 3")
    assert reopen(folder).budget.max_epochs == 3
