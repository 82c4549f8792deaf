"""What is loaded, written out and loaded again is the same, and no input ends in a traceback."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.config import (
    Component,
    Preset,
    SweepConfig,
    config_schema,
    load_sweep,
    resolved_yaml,
    sweep_files,
    sweep_from_mapping,
    sweep_mapping,
)
from orchestrator.config.overrides import set_value
from orchestrator.config.placing import placed_data
from orchestrator.config.relations import WEIGHTLESS
from orchestrator.config.yaml_source import dump_yaml, parse_yaml
from orchestrator.errors import ConfigError
from orchestrator.ranking.options import COMPONENTS, PRESETS
from search_spaces import read_space
from trainables.errors import InvalidConfig

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
# Every letter is upper case, as `~` begins a home folder and a scheme is what ends in a colon.
PATHS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=":~"), min_size=1, max_size=20)
SEEDS = st.integers(0, 2**31 - 1)
COUNTS = st.none() | st.integers(200, 10_000)


def can_join(data: str, held_out: str) -> bool:
    """Whether the one place can hold the validation samples of the other."""
    return not data.startswith(("digits", "torchvision/")) and placed_data(data) != placed_data(held_out)


PLACES = PATHS | st.sampled_from(["digits", "torchvision/CIFAR10", "hf/nyu-mll/glue@sst2", "hf/./folder", "./hf/x"])
COLUMNS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
TASKS = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "data": PLACES,
        "val_data": st.none() | PLACES,
        "kind": st.sampled_from(["classification", "multilabel", "regression"]),
        "input_columns": COLUMNS | st.lists(COLUMNS, max_size=2, unique=True),
        "label_columns": COLUMNS | st.lists(COLUMNS, max_size=4, unique=True),
        "group_column": st.none() | COLUMNS,
        "image_size": st.none() | st.integers(8, 4096),
        "max_duration_s": st.none() | st.floats(0.01, 100) | st.integers(1, 60),
        "num_train": COUNTS,
        "train_frac": st.floats(0.5, 1),
        "on_bad_sample": st.sampled_from(["stop", "skip"]),
    },
).filter(lambda task: task.get("val_data") is None or can_join(task.get("data", "digits"), task["val_data"]))
SPACES = st.sampled_from(
    [
        "default",
        {"base": "default", "weight_decay": None},
        {"freeze_depth": {"low": 0, "high": "num_blocks", "num": 5}, "batch_size": {"choice": [16, 32]}},
        {"base": "default", "learning_rate": {"low": 1, "high": 2.5}, "optimizer": {"choice": ["sgd"]}},
        {"base": "default", "freeze_depth": {"choice": ["full", "probe", 2]}, "head_init": {"choice": ["probe"]}},
        {"tune_window": {"parts": 4}, "stay_near": {"low": 1e-4, "high": 1, "log": True, "when": "unfrozen"}},
        {"tune_window": {"choice": [[0, 2], [2, "num_blocks"]]}, "schedule": {"choice": ["step", "constant"]}},
    ]
)


@st.composite
def budgets(draw: st.DrawFn) -> dict[str, int]:
    trials, epochs = draw(st.integers(1, 200)), draw(st.integers(1, 50))
    return {
        "trials": trials,
        "random_trials": draw(st.integers(0, trials)),
        "max_epochs": epochs,
        "grace_epochs": draw(st.integers(1, epochs)),
        "reduction_factor": draw(st.integers(2, 5)),
    }


SWEEPS = st.fixed_dictionaries(
    {
        "name": NAMES,
        "tasks": st.lists(TASKS, min_size=1, max_size=3, unique_by=lambda task: task["name"]),
        "backbones": st.lists(NAMES.map("timm/{}".format), min_size=1, max_size=3, unique=True),
        "budget": budgets(),
    },
    optional={
        "space": SPACES,
        "finetune": st.fixed_dictionaries(
            {}, optional={"warmup_frac": st.floats(0, 0.99), "class_weight": st.just("none")}
        ),
        "confirmation": st.fixed_dictionaries(
            {"seeds": st.integers(1, 100)},
            optional={"train_fracs": st.lists(st.floats(0.01, 0.99), max_size=3, unique=True)},
        ),
        "evaluation": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "perturbations": st.sampled_from(["all", "none"]),
                "num_perturbed": st.integers(1, 999),
                "num_explained": st.integers(0, 99),
            },
        ),
        "screen": st.booleans(),
        "ranking": st.fixed_dictionaries(
            {},
            optional={
                "preset": st.sampled_from(get_args(Preset)),
                "weights": st.dictionaries(st.sampled_from(get_args(Component)), st.floats(0.1, 10)),
            },
        ),
        "resources": st.fixed_dictionaries(
            {
                "gpus_per_trial": st.sampled_from(["auto", 0, 0.25, 1, 2.0]),
                "max_concurrent": st.integers(1, 9),
            },
            optional={
                "max_retries": st.integers(0, 10),
                "epoch_timeout_s": st.none() | st.just("auto") | st.floats(0.1, 1e6) | st.integers(1, 60),
            },
        ),
        "execution": st.fixed_dictionaries(
            {},
            optional={
                "activation_cache": st.sampled_from(["auto", "always", "off"]),
                "activation_dtype": st.sampled_from(["exact", "bf16", "fp16"]),
                "compile": st.booleans(),
                "gradient_checkpointing": st.booleans(),
                "micro_batch_size": st.none() | st.integers(1, 999),
            },
        ),
        "storage": PATHS,
        "seed": SEEDS,
    },
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=3)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner),
    max_leaves=8,
)
SCHEMA = jsonschema.Draft202012Validator(config_schema())
KEYS = st.sampled_from([field.name for field in dataclasses.fields(SweepConfig)])


@given(mapping=SWEEPS)
@settings(max_examples=60, deadline=None)
def test_written_out_it_loads_back_equal(mapping: dict[str, Any]) -> None:
    config = sweep_from_mapping(mapping)
    text = resolved_yaml(config)
    again = sweep_from_mapping(parse_yaml(text, "resolved.yaml").value)
    assert again == config
    assert resolved_yaml(again) == text
    assert again.space.digest == config.space.digest
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize("name", sweep_files())
def test_shipped_sweeps_load_and_fit_the_schema(tmp_path: Path, name: str) -> None:
    config = load_sweep(name)
    assert config.name == name
    file = tmp_path / "resolved.yaml"
    file.write_text(resolved_yaml(config), encoding="utf-8")
    assert load_sweep(file) == config
    jsonschema.Draft202012Validator.check_schema(config_schema())
    jsonschema.validate(sweep_mapping(config), config_schema())


@given(mapping=SWEEPS)
@settings(max_examples=30, deadline=None)
def test_what_loads_fits_the_schema(mapping: dict[str, Any]) -> None:
    sweep_from_mapping(mapping)
    SCHEMA.validate(mapping)


def test_the_schema_documents_every_field_and_refuses_unknown_ones() -> None:
    schema = config_schema()
    assert set(schema["properties"]) == {field.name for field in dataclasses.fields(SweepConfig)}
    assert schema["required"] == ["name", "tasks", "backbones"]
    sections = ("budget", "confirmation", "resources", "execution")
    described = [schema["properties"], *(schema["properties"][name]["properties"] for name in sections)]
    assert all(value["description"] for values in described for value in values.values())
    for broken in ({"nme": "x"}, {"seed": "x"}, {"budget": {"trials": 0}}, {"space": {"seed": {}}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"name": "x", "tasks": [{"name": "a"}], "backbones": ["timm/a"], **broken}, schema)


def test_a_run_gets_the_fixed_values_with_the_sampled_ones_on_top() -> None:
    config = load_sweep("quickstart", ["finetune.warmup_frac=0.2"])
    run = config.finetune_config("timm/x", {"freeze_depth": 3, "weight_decay": 0.5}, seed=7)
    assert (run.backbone, run.seed, run.max_epochs) == ("timm/x", 7, config.budget.max_epochs)
    assert (run.freeze_depth, run.weight_decay) == (3, 0.5)
    assert (run.warmup_frac, run.batch_size) == (0.2, config.finetune.batch_size)
    assert not set(config.fixed) & set(config.space.names)
    assert config.finetune_config("timm/x", {}, seed=0, max_epochs=1).max_epochs == 1


def test_a_fixed_window_travels() -> None:
    space = "space={base: default, freeze_depth: null}"
    config = load_sweep("quickstart", [space, "finetune.tune_window=[2, 5]"])
    run = config.finetune_config("timm/x", {}, seed=0)
    assert (run.tune_window, run.freeze_depth) == ((2, 5), 0)
    assert sweep_from_mapping(parse_yaml(resolved_yaml(config), "x").value) == config
    assert load_sweep("quickstart", [space, "finetune.freeze_depth=full"]).finetune.freeze_depth == 0


def test_local_data_are_found_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("digits", "torchvision/CIFAR10", "hf/nyu-mll/glue@sst2", "hf//data/folder", "/data/images"):
        assert load_sweep("quickstart", [f"tasks.0.data={place}"]).tasks[0].data == place
    for place in ("images", "./images", "./hf/x", "torchvision"):
        task = load_sweep("quickstart", [f"tasks.0.data={place}", f"tasks.0.val_data=more/{place}"]).tasks[0]
        assert (task.data, task.val_data, task.test_data) == (
            str(tmp_path / place),
            str(tmp_path / "more" / place),
            None,
        )
    assert load_sweep("quickstart", ["tasks.0.data=hf/./folder"]).tasks[0].data == f"hf/{tmp_path}/folder"
    table = "tasks.0={name: a, data: t.csv, label_columns: y, input_columns: [a, b]}"
    task = load_sweep("quickstart", [table]).tasks[0]
    assert (task.label_columns, task.input_columns) == (("y",), ("a", "b"))


PLACED = [
    # As written, and as loaded in the folder HERE.
    ("timm/resnet18", "timm/resnet18"),
    ("timm/resnet18@a1_in1k", "timm/resnet18@a1_in1k"),
    ("timm/resnet18@random", "timm/resnet18@random"),
    ("timm/resnet18@./x.pth", "timm/resnet18@HERE/x.pth"),
    ("torchvision/resnet18@x.safetensors", "torchvision/resnet18@HERE/x.safetensors"),
    ("torchvision/resnet18@my weights/x.pt", "torchvision/resnet18@HERE/my weights/x.pt"),
    ("timm/resnet18@../x@2.pth", "timm/resnet18@HERE/../x@2.pth"),
    ("timm/resnet18@~/x.pth", "timm/resnet18@/home/ada/x.pth"),
    ("timm/resnet18@/data/x.pth", "timm/resnet18@/data/x.pth"),
    ("hf/./bert", "hf/HERE/bert"),
    ("hf/~/bert", "hf//home/ada/bert"),
    ("hf/./bert@random", "hf/HERE/bert@random"),
    ("hf/google/bert@main", "hf/google/bert@main"),
]


def test_own_checkpoints_are_found_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = tmp_path / ("a folder of a long name " * 8).strip()
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", "/home/ada")
    for written, loaded in PLACED:
        config = load_sweep("quickstart", [f"backbones=['{written}']", "tracking_uri=sqlite:///my.db"])
        assert config.backbones == (loaded.replace("HERE", str(here)),)
        assert config.tracking_uri == f"sqlite:///{here}/my.db"
        monkeypatch.chdir("/")
        assert sweep_from_mapping(parse_yaml(resolved_yaml(config), "resolved.yaml").value) == config
        monkeypatch.chdir(here)
    with pytest.raises(ConfigError, match="must not repeat item 0"):
        load_sweep("quickstart", ["backbones=[timm/resnet18@./x.pth, timm/resnet18@x.pth]"])
    for uri in ("http://host:5000", "sqlite:////data/my.db", "postgresql://host/db", "auto"):
        assert load_sweep("quickstart", [f"tracking_uri={uri}"]).tracking_uri == uri


def test_a_home_folder_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    config = load_sweep("quickstart", ["storage=~/sweeps", "tasks.0.data=~/images"])
    assert config.storage == "/home/ada/sweeps"
    assert config.tasks[0].data == "/home/ada/images"


def test_redacted_yaml_hides_passwords() -> None:
    config = load_sweep("quickstart", ["tracking_uri=postgresql://ada:hunter2@host/db"])
    assert "hunter2" in resolved_yaml(config)
    assert "hunter2" not in resolved_yaml(config, redacted=True)


def told(call: Callable[[], object]) -> str | None:
    """The message of a refusal, None where nothing is refused; any other exception is a failure."""
    try:
        call()
    except (ConfigError, InvalidConfig) as error:
        return str(error)
    return None


@given(value=ANYTHING, key=KEYS, more=st.dictionaries(KEYS | st.text(max_size=8), ANYTHING, max_size=3))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_mapping_ends_in_a_traceback(value: Any, key: str, more: dict[str, Any]) -> None:
    assert told(lambda: sweep_from_mapping(value))
    assert told(lambda: sweep_from_mapping(more))
    told(lambda: sweep_from_mapping({**sweep_mapping(load_sweep("quickstart")), key: value}))


@given(value=ANYTHING)
@settings(deadline=None)
def test_no_space_ends_in_a_traceback(value: Any) -> None:
    for mapping in (
        {"weight_decay": value},
        {"batch_size": value},
        {"freeze_depth": {"low": 0, "high": value}},
    ):
        assert told(lambda mapping=mapping: read_space(mapping)) != ""


YAML_PARTS = [
    "a",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "\n",
    "  ",
    "&x ",
    "*x",
    "!!t ",
    "'",
    '"',
    "#",
    "\t",
    "|",
    ">",
]


@given(
    text=st.text(max_size=60) | st.lists(st.sampled_from(YAML_PARTS), max_size=20).map("".join),
    path=st.text(st.sampled_from("ab.0=[{"), max_size=8),
)
@settings(max_examples=200, deadline=None)
def test_no_text_ends_in_a_traceback(text: str, path: str) -> None:
    def load() -> None:
        document = parse_yaml(text, "x.yaml")
        set_value(document, f"{path}={text}")
        sweep_from_mapping(document.value)

    assert told(load)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    )
)
@settings(deadline=None)
def test_dumped_values_parse_back(value: Any) -> None:
    assert parse_yaml(dump_yaml(value), "x").value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("'1e-4'", "1e-4"),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("+1_000", "+1_000"),
        ("no", "no"),
        ("True", True),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("1.", 1.0),
        ("'~'", "~"),
        ("[&a {x: 1}, *a]", [{"x": 1}, {"x": 1}]),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read = parse_yaml(text, "x").value
    assert read == value
    assert type(read) is type(value)
    assert parse_yaml(dump_yaml(value), "x").value == value


def test_presets_and_components_are_those_of_the_ranking() -> None:
    # Named twice: reading a sweep file must not load the ranking, which needs numpy.
    assert set(get_args(Preset)) == set(PRESETS)
    assert get_args(Component) == COMPONENTS
    for preset, weights in PRESETS.items():
        assert {name for name, weight in weights.items() if weight == 0} == WEIGHTLESS.get(preset, frozenset())
