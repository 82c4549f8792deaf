"""Which files load, what their messages never show, and what is taken though it looks unusual."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import SweepConfig, load_sweep, sweep_from_mapping
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.planning.plan import plan
from orchestrator.provenance import new_facts
from trainables.execution import Execution

SWEEP = """\
name: small
tasks: [{name: digits, num_train: 100}]
backbones: [timm/a, timm/b]
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quickstrat", "is neither a file nor a shipped sweep (quickstart"),
        ("no/such.yaml", "is neither a file nor"),
        ("\0", "is neither a file nor"),
        ("x" * 5000, "is neither a file nor"),
        (".", "cannot be read: Is a directory"),
    ],
)
def test_paths_that_cannot_be_read(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_sweep(name)
    assert message in str(caught.value)


def test_a_near_name_is_offered() -> None:
    with pytest.raises(ConfigError, match="did you mean 'quickstart'"):
        load_sweep("quickstrat")


@pytest.mark.parametrize(
    "uri",
    [
        "postgresqll://bob:hunter2@host/db",
        "postgresqll://bob:hunter2@x@host/db" + "y" * 100,
        "htp://hunter2@host",
        "htp://host/?token=hunter2&x=1",
        "bob:" + "a" * 70 + "://x:hunter2" + "b" * 70 + "@host",
    ],
)
@pytest.mark.parametrize("key", ["tracking_uri", "storage", "name", "seed", "space", "backbones", "x", "name.x"])
def test_secrets_are_never_shown(tmp_path: Path, key: str, uri: str) -> None:
    for value in (uri, f"[{uri!r}]", f"{{{uri!r}: {uri!r}}}"):
        file = tmp_path / "my.yaml"
        file.write_text(SWEEP, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load_sweep(file, [f"{key}={value}"])
        assert not any("hunter2" in f"{p}{p.message}" for p in caught.value.problems)


def test_errors_say_how_the_command_ends() -> None:
    with pytest.raises(OrchestratorError) as caught:
        sweep_from_mapping({})
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, ValueError)


def test_what_is_unusual_but_right_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    text = SWEEP + "tracking_uri: postgresql+psycopg2://bob:pw@host:5432/db\nstorage: s3://bucket/x\n"
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    overrides = [
        "resources.gpus_per_trial=0.5",
        "finetune.warmup_frac=1e-1",
        "tasks.0.num_train=200",
        "backbones.1=timm/c",
        "budget.trials=010",
        "budget.trials=11",
        "budget.allocation=race",
        "execution.activation_cache=off",
        "execution.compile=true",
        "execution.micro_batch_size=8",
        "name=no",
    ]
    config = load_sweep(file, overrides)
    assert isinstance(config, SweepConfig)
    assert config.resources.gpus_per_trial == 0.5
    assert config.finetune.warmup_frac == 0.1
    assert config.tasks[0].num_train == 200
    assert config.backbones == ("timm/a", "timm/c")
    assert config.budget.trials == 11
    assert config.budget.allocation == "race"
    assert config.execution == Execution(activation_cache="off", compile=True, micro_batch_size=8)
    assert config.name == "no"


def test_how_patient_a_sweep_is_says_nothing_of_its_studies(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(SWEEP)
    by_default = load_sweep(file)
    assert (by_default.resources.max_retries, by_default.resources.epoch_timeout_s) == (2, "auto")
    patient = load_sweep(file, ["resources.max_retries=0", "resources.epoch_timeout_s=90"])
    assert (patient.resources.max_retries, patient.resources.epoch_timeout_s) == (0, 90.0)
    assert load_sweep(file, ["resources.epoch_timeout_s=~"]).resources.epoch_timeout_s is None
    assert plan(patient) == plan(by_default)
    facts, same = (new_facts(config, plan(config), "auto") for config in (patient, by_default))
    assert facts["settings"] == same["settings"]
