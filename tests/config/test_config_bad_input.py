"""Every bad input deserves a message with the rule, the value, the place and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import load_sweep
from orchestrator.errors import ConfigError, Problem

SWEEP = """\
name: small
tasks:
  - name: digits
    num_train: 100
backbones: [timm/a, timm/b]
budget:
  trials: 8
"""

FACTS = {
    "timm/shallow": {
        "num_blocks": 6,
        "num_params": 10,
        "input_size": 32,
        "block_flops": [1] * 6,
        "boundary_elements": [1] * 6,
    }
}


def problems(path: Path, text: str | bytes, overrides: tuple[str, ...] = ()) -> tuple[Problem, ...]:
    file = path / "my.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_sweep(file, overrides)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems) > 0
    assert all(line.isprintable() for line in lines)
    return tuple(
        Problem(where=p.where.replace(str(file), "my.yaml"), key=p.key, rule=p.rule, value=p.value, hint=p.hint)
        for p in caught.value.problems
    )


TEXTS: list[Any] = [
    # Text that is not a sweep file at all.
    ("", "my.yaml:1", "", "is empty", ""),
    ("# only a comment\n", "my.yaml:1", "", "is empty", ""),
    ("\n---\n...\n", "my.yaml", "", "must be a mapping", ""),
    ("- a\n- b\n", "my.yaml", "", "must be a mapping of keys to values, got ['a', 'b']", ""),
    ("just text\n", "my.yaml", "", "must be a mapping", ""),
    (b"\xff\xfen\x00a\x00", "my.yaml:1", "", "must be text in UTF-8", ""),
    (SWEEP.encode() + b"\nseed: \xe9\n", "my.yaml:9", "", "must be text in UTF-8", ""),
    ("a: \x07\n", "my.yaml:1", "", "the character U+0007 is not allowed", ""),
    (b"#" * 1_000_001, "my.yaml", "", "must be at most 1 MB", ""),
    (SWEEP + "\tseed: 1\n", "my.yaml:8", "", "is not YAML", "indent with spaces"),
    (SWEEP + "storage: a: b\n", "my.yaml:8", "", "mapping values are not allowed", "quote a text"),
    (
        SWEEP + 'x: [pip install "ray[default]"]\n',
        "my.yaml:8",
        "",
        "is not YAML",
        "is not closed; quote the whole",
    ),
    (SWEEP + "---\na: 1\n", "my.yaml:8", "", "must hold one YAML document", ""),
    (SWEEP + "x: !!python/object/apply:os.system [id]\n", "my.yaml:8", "", "must not have tags", ""),
    (SWEEP + "seed: !!int 3\n", "my.yaml:8", "", "must not have tags", "write the plain value"),
    (SWEEP + "<<: {seed: 1}\n", "my.yaml:8", "", "must not have merge keys", "write the keys out"),
    (SWEEP + "1: x\n", "my.yaml:8", "", "must have text as keys, got 1", "quote it"),
    (SWEEP + "? [a]\n: x\n", "my.yaml:8", "", "must have plain text as keys", ""),
    (SWEEP + "seed: *x\n", "my.yaml:8", "", "the alias *x has no anchor &x before it", ""),
    (SWEEP + "seed: &x [*x]\n", "my.yaml:8", "", "the alias *x has no anchor", ""),
    (SWEEP + f"seed: [{'*a, ' * 101}]\nx: &a 1\n", "my.yaml:8", "", "has no anchor", ""),
    (f"x: &a 1\ny: [{'*a, ' * 101}]\n", "my.yaml:2", "", "at most 100 aliases", ""),
    ("x: " + "[" * 5000 + "\n", "my.yaml:1", "", "nested at most 40 deep", ""),
    ("x: [" + "1, " * 20_001 + "]\n", "my.yaml:1", "", "must hold at most 20000 values", ""),
    (f"seed: {'9' * 5000}\n", "my.yaml:1", "", "numbers of at most 40 digits", ""),
    # Keys.
    (SWEEP + "seed: 1\nseed: 2\n", "my.yaml:9", "seed", "'seed' given twice (first on line 8)", ""),
    (SWEEP + "  trials: 9\n", "my.yaml:8", "budget.trials", "'trials' given twice (first on line 7)", ""),
    (SWEEP + "bugdet: {}\n", "my.yaml:8", "bugdet", "unknown key", "did you mean 'budget'?"),
    (SWEEP + "  trails: 1\n", "my.yaml:8", "budget.trails", "unknown key", "did you mean 'trials'?"),
    (SWEEP + "metric: f1\n", "my.yaml:8", "metric", "unknown key", "maximises the task's own metric"),
    (SWEEP + "mode: maximum\n", "my.yaml:8", "mode", "unknown key", "maximises"),
    (
        SWEEP + "freeze_depths: 1\n",
        "my.yaml:8",
        "freeze_depths",
        "unknown key",
        "did you mean 'freeze_depth'? it belongs",
    ),
    (
        SWEEP + "max_epoch: 1\n",
        "my.yaml:8",
        "max_epoch",
        "unknown key",
        "did you mean 'max_epochs'? it belongs under b",
    ),
    (SWEEP + "lr: 1\n", "my.yaml:8", "lr", "unknown key", "learning_rate belongs under space"),
    (SWEEP + "seeds: [1, 1]\n", "my.yaml:8", "seeds", "unknown key", "did you mean 'seed'?"),
    (SWEEP + "  epochs: 1\n", "my.yaml:8", "budget.epochs", "unknown key", "did you mean 'max_epochs'?"),
    ("name: a\n", "my.yaml", "tasks", "is required", ""),
    ("name: a\n", "my.yaml", "backbones", "is required", ""),
    (SWEEP.replace("name: digits", "data: digits"), "my.yaml:3", "tasks.0.name", "is required", ""),
    (SWEEP + "  race: true\n", "my.yaml:8", "budget.race", "unknown key", "write allocation: race"),
    (
        SWEEP.replace("[timm/a, timm/b]", "[timm/a]") + "  allocation: race\n",
        "my.yaml:8",
        "budget.allocation",
        "must be equal for a single backbone, got 'race'",
        "name another backbone",
    ),
    (SWEEP + "execution: {cache: off}\n", "my.yaml:8", "execution.cache", "unknown key", "'activation_cache'"),
    (
        SWEEP + "execution: {activaton_cache: off}\n",
        "my.yaml:8",
        "execution.activaton_cache",
        "unknown",
        "did you mean",
    ),
    (SWEEP + "resources:\n", "my.yaml:8", "resources", "must be a mapping", "leave the key out"),
]

VALUES: list[Any] = [
    # --set, the message after the key, and the hint.
    ("budget.trials=0", "must be a whole number in [1, 100000], got 0", ""),
    ("budget.trials=-1", "must be a whole number in [1, 100000], got -1", ""),
    ("budget.trials=1.5", "must be a whole number in [1, 100000], got 1.5", ""),
    ("budget.trials=8.0", "must be a whole number in [1, 100000], got 8.0", "write 8"),
    ("budget.trials='10'", "must be a whole number in [1, 100000], got '10'", "write it without quotes"),
    ("budget.trials=true", "must be a whole number in [1, 100000], got True", ""),
    ("budget.trials=~", "must be a whole number in [1, 100000], got None", "leave the key out"),
    ("budget.trials=.nan", "must be a whole number in [1, 100000], got nan", ""),
    ("budget.random_trials=9", "must be <= trials (8), got 9", ""),
    ("budget.max_epochs=0", "must be a whole number in [1, 10000], got 0", ""),
    ("budget.grace_epochs=9", "must be <= max_epochs (3), got 9", ""),
    ("budget.grace_epochs=0", "must be a whole number in [1, 10000], got 0", ""),
    ("budget.reduction_factor=1", "must be a whole number in [2, 100], got 1", ""),
    ("confirmation.seeds=0", "must be a whole number in [1, 100], got 0", ""),
    ("confirmation.seeds=101", "must be a whole number in [1, 100], got 101", ""),
    ("confirmation.seeds=[1, 1]", "must be a whole number in [1, 100], got [1, 1]", ""),
    ("confirmation.train_fracs=0.1", "must be a list of numbers, got 0.1", "write [0.1]"),
    ("confirmation.train_fracs=~", "must be a list of numbers, got None", ""),
    ("confirmation.train_fracs=[0.1, 0.1]", "must not repeat a number, got 0.1", ""),
    ("confirmation.train_fracs=[1]", "must be in (0, 1), got 1", "all samples are what confirmations"),
    ("confirmation.train_fracs=[0]", "must be in (0, 1), got 0", ""),
    ("confirmation.train_fracs=[30]", "must be a finite number in [0, 1], got 30", ""),
    ("confirmation.train_frac=0.1", "unknown key", "did you mean 'train_fracs'?"),
    ("train_fracs=[0.1]", "unknown key", "it belongs under confirmation"),
    ("evaluation.perturbations=al", "must be one of all, none, got 'al'", "did you mean 'all'?"),
    ("evaluation.num_perturbed=0", "must be a whole number in [1, 1000000], got 0", ""),
    ("evaluation.num_explained=-1", "must be a whole number in [0, 10000], got -1", ""),
    ("evaluation.num_attackd=1", "unknown key", "did you mean 'num_attacked'?"),
    ("evaluation.robustness=all", "unknown key", "did you mean 'perturbations'?"),
    ("screen=1", "must be true or false, got 1", ""),
    ("ranking.preset=few_trial", "must be one of default, accuracy_only", "did you mean 'few_trials'?"),
    ("ranking.weights.quality=-1", "must be a finite number in [0, 1000], got -1", ""),
    ("ranking.weights.accuracy=1", "unknown key", "did you mean 'quality'?"),
    ("ranking.weights=[1, 0]", "must be a mapping of keys to values, got [1, 0]", ""),
    ("ranking.weights={quality: 0, ease: 0, data_efficiency: 0, robustness: 0}", "must not all be 0", "a weight"),
    ("ranking={preset: accuracy_only, weights: {quality: 0}}", "with those of preset accuracy_only", "a weight"),
    (
        "ranking={preset: few_trials, weights: {quality: 0, ease: 0, robustness: 0}}",
        "with those of preset few_trials",
        "a weight",
    ),
    ("ranking.quality=1", "unknown key", "write weights: {quality: ...}"),
    ("resources.cpus_per_trial=0", "must be a whole number in [1, 1024], got 0", ""),
    ("resources.gpus_per_trial=1.5", "a fraction below 1, or a whole number, got 1.5", "1 or 2"),
    ("resources.gpus_per_trial=-1", "must be auto or a finite number in [0, 64], got -1", ""),
    ("resources.gpus_per_trial=all", "must be auto or a finite number in [0, 64], got 'all'", ""),
    ("resources.gpus_per_trial='1'", "got '1'", "write it without quotes"),
    ("resources.max_concurrent=0", "must be auto or a whole number in [1, 10000], got 0", ""),
    ("resources.max_retries=-1", "must be a whole number in [0, 10], got -1", ""),
    ("resources.max_retries=11", "must be a whole number in [0, 10], got 11", ""),
    ("resources.max_retries=~", "must be a whole number in [0, 10], got None", "leave the key out"),
    ("resources.max_failures=3", "unknown key", "did you mean 'max_retries'?"),
    ("resources.epoch_timeout_s=0", "must be auto, null or more than 0 s, got 0", "null is no limit"),
    ("resources.epoch_timeout_s=-1", "must be auto or a finite number in [0, 31536000], got -1", ""),
    ("resources.epoch_timeout_s=.inf", "must be auto or a finite number in [0, 31536000], got inf", ""),
    ("resources.epoch_timeout_s=never", "must be auto or a finite number in [0, 31536000], got 'never'", ""),
    ("resources.timeout=60", "unknown key", "did you mean 'epoch_timeout_s'?"),
    ("budget.allocation=races", "must be one of equal, race, got 'races'", "did you mean 'race'?"),
    ("budget={trials: 8, random_trials: 2, allocation: race}", "must be >= 3 in a race, which begins with", ""),
    ("execution.activation_cache=false", "must be one of auto, always, off, got False", ""),
    ("execution.activation_cache=alway", "must be one of auto, always, off", "did you mean 'always'?"),
    ("execution.activation_dtype=fp61", "must be one of exact, bf16, fp16, got 'fp61'", "did you mean 'fp16'?"),
    ("execution.compile=yes", "must be true or false, got 'yes'", ""),
    ("execution.gradient_checkpointing=1", "must be true or false, got 1", ""),
    ("execution.gradient_checkpointing=~", "must be true or false, got None", "leave the key out"),
    ("execution.micro_batch_size=0", "must be a whole number in [1, 10000000], got 0", ""),
    ("seed=-1", "must be a whole number in [0, 2147483647], got -1", ""),
    ("name=a/b", "must be 1 to 80 letters, digits, '_', '.' or '-'", "e.g. a-b"),
    ("name=a b", "got 'a b'", "e.g. a-b"),
    ("name='..'", "the first no '.' or '-', got '..'", ""),
    ("name=''", "must be 1 to 80 letters", ""),
    ("name=😀", "must be 1 to 80 letters", ""),
    (f"name={'x' * 300}", "must be 1 to 80 letters", "e.g. xxx"),
    ("name=2024", "must be text, got 2024", "write it in quotes"),
    ("tasks.0.name=a:b", "must be 1 to 80 letters", "e.g. a-b"),
    ("tasks.0.data=''", "must be a path of printable characters", ""),
    ("tasks.0.data=torchvision/", "must be torchvision/<Dataset>", "e.g. torchvision/CIFAR10"),
    ("tasks.0.data=torchvision/a/b", "must be torchvision/<Dataset>", "./torchvision/... is a folder"),
    ("tasks.0.data=hf/a/b/c", "must be hf/<dataset>[@configuration], or hf/./folder", "e.g. hf/"),
    ("tasks.0.data=hf/glue@", "must be hf/<dataset>[@configuration], or hf/./folder", ""),
    ("tasks.0.data=s3://bucket/x", "must be digits, a path, torchvision/<Dataset> or hf/", "download it first"),
    ("tasks.0.test_data=hf/", "must be hf/<dataset>[@configuration], or hf/./folder", ""),
    ("tasks.0.kind=multi_label", "must be one of classification, multilabel, regression", "'multilabel'?"),
    ("tasks.0.modality=images", "must be one of image, text, audio, got 'images'", "did you mean 'image'?"),
    ("tasks.0.input_columns=3", "must be a text or a list of texts, got 3", ""),
    ("tasks.0.input_columns=~", "must be a text or a list of texts, got None", "leave the key out"),
    ("tasks.0.input_columns=[a, b, c]", "must be at most 2 texts", ""),
    ("tasks.0.input_columns=[a, a]", "must not repeat a name, got 'a'", ""),
    ("tasks.0.label_columns=[a, 3]", "must be text, got 3", "write it in quotes"),
    ("tasks.0.label_columns=''", "must be the name of a column", ""),
    ("tasks.0.split_column=''", "must be the name of a column", ""),
    ("tasks.0.max_length=0", "must be a whole number in [4, 1000000], got 0", ""),
    ("tasks.0.max_duration_s=0", "must be a finite number in [0.01, 86400], got 0", ""),
    ("tasks.0.train_frac=0", "must be in (0, 1], got 0", "leave the key out to keep all"),
    ("tasks.0.train_frac=1.5", "must be a finite number in [0, 1], got 1.5", ""),
    ("tasks.0.train_frac=0.1", "must be <= num_train x train_frac (10) of task digits, got 32", ""),
    ("tasks.0.few_shot=5", "takes the place of num_train, so only one can be given, got 5", ""),
    ("tasks.0={name: a, few_shot: 5, kind: regression}", "which a regression task has not", "give num_train"),
    ("tasks.0={name: a, modality: text, image_size: 64}", "is for image data, and modality is text", "remove it"),
    ("tasks.0={name: a, modality: audio, input_columns: [a, b]}", "two are a pair of texts", ""),
    ("tasks.0.on_bad_sample=ignore", "must be one of stop, skip, got 'ignore'", ""),
    ("tasks.0.type=regression", "unknown key", "did you mean 'kind'?"),
    ("tasks.0.labels=y", "unknown key", "did you mean 'label_columns'?"),
    ("tasks.0.text=y", "unknown key", "did you mean 'input_columns'?"),
    ("tasks.0.label_colums=y", "unknown key", "did you mean 'label_columns'?"),
    ("tasks.0.val_data=digits", "cannot join digits, which is split as it was published", "remove it"),
    (
        "tasks.0={name: a, data: ./x, test_data: x/}",
        "must not be data: a sweep would choose, or measure,",
        "leave it out",
    ),
    ("tasks.0={name: a, data: x, val_data: hf/./y, test_data: hf/./y}", "must not be val_data", "leave it out"),
    ("tasks.0.image_size=4", "must be a whole number in [8, 4096], got 4", ""),
    ("tasks.0.num_val=0", "must be a whole number in [1, 10000000], got 0", ""),
    ("tasks=[]", "must be a list with at least one item, got []", ""),
    ("tasks={name: a}", "must be a list with at least one item", "write it in [ ]"),
    ("tasks=[3]", "must be a mapping of keys to values, got 3", ""),
    ("backbones=timm/a", "must be a list with at least one item, got 'timm/a'", "write it in [ ]"),
    ("backbones=[tim/a]", "before '/' must be one of torchvision, timm, hf, got 'tim/a'", "'timm'?"),
    ("backbones=[timm]", "must be source/architecture[@weights]", ""),
    ("backbones=['timm/a@']", "must be source/architecture[@weights]", ""),
    ("backbones=['timm/a b']", "must be source/architecture[@weights]", ""),
    ("backbones=['timm/a b@x.pth']", "must be source/architecture[@weights]", ""),
    ("backbones=['timm/a@x.pth ']", "must be source/architecture[@weights]", ""),
    (f"backbones=['timm/a@/{'x' * 1000}.pth']", "must be source/architecture[@weights]", ""),
    ("backbones=[3]", "must be text, got 3", ""),
    ("backbones=[timm/a, timm/a]", "must not repeat item 0, got 'timm/a'", ""),
    ("backbones=[timm/tf_efficientnet_lite0, timm/tf_efficientnet_lite0@pypi]", "must not repeat item 0", ""),
    ("tasks=[{name: a}, {name: a}]", "must not repeat item 0, got 'a'", ""),
    ("space=defalt", "must be one of default, or a mapping of parameters, got 'defalt'", "'default'?"),
    ("space=3", "must be one of default, or a mapping of parameters, got 3", ""),
    ("space={base: default, learning_rate: {low: 1, high: 1}}", "must be < high (1.0), got 1.0", ""),
    ("space={weight_decay: {low: 0, high: 1, log: true}}", "must be > 0 on a log scale, got 0.0", ""),
    ("space={learning_rate: {low: '1e-4', high: 1e-2}}", "must be a finite number, got '1e-4'", "without quotes"),
    ("space={freeze_depths: {low: 0, high: 3}}", "is not a field that can be searched", "'freeze_depth'?"),
    ("space={freeze_depth: {low: -1, high: 3}}", "must be >= 0, got -1", ""),
    ("space={weight_decay: {low: .nan, high: .inf}}", "must be a finite number, got nan", ""),
    ("space={weight_decay: {low: .nan, high: .inf}}", "must be a finite number, got inf", ""),
    ("space={batch_size: {low: 8, high: 20, step: 5}}", "must divide high - low, 12, got 5", ""),
    ("space={batch_size: {low: 8, high: 200}}", "must be <= num_train (100) of task digits, got 200", ""),
    ("space={batch_size: {choice: [8, 101]}}", "must be <= num_train (100) of task digits, got 101", ""),
    ("space={seed: {choice: [1]}}", "is set by the sweep and cannot be searched", ""),
    ("finetune={batch_size: 0}", "must be >= 1, got 0", ""),
    ("finetune={batch_size: -1}", "must be >= 1, got -1", ""),
    ("finetune={batch_size: 101}", "must be <= num_train (100) of task digits, got 101", ""),
    ("tasks.0.num_train=20", "must be <= num_train (20) of task digits, got 32", ""),
    ("finetune={optimizer: adm}", "must be one of adamw, adam, sgd, got 'adm'", "did you mean 'adam'?"),
    ("finetune={tune_window: 3}", "must be a list of two block numbers, e.g. [2, 5], got 3", ""),
    ("finetune={tune_window: [5, 2]}", "must be two block numbers (i, j) with 0 <= i < j", ""),
    ("finetune={tune_window: [2, 5]}", "cannot be fixed where freeze_depth is searched", "freeze_depth: null}"),
    ("finetune={freeze_depth: probe}", "must be a number, as it is fixed", "freeze_depth: {choice: [probe]}}"),
    ("finetune={freeze_depth: prob}", "must be a whole number, got 'prob'", ""),
    ("finetune={window: [2, 5]}", "unknown key", "did you mean 'tune_window'?"),
    ("finetune={scheduler: cosine}", "unknown key", "did you mean 'schedule'?"),
    ("finetune={schedule: steps}", "must be one of cosine, constant, step", "did you mean 'step'?"),
    ("finetune={head_init: prob}", "must be one of random, probe, got 'prob'", "did you mean 'probe'?"),
    ("finetune={stay_near: -1}", "must be finite and >= 0, got -1", ""),
    ("space={tune_window: {parts: 4}, freeze_depth: {low: 0, high: 3}}", "cannot be searched beside", ""),
    ("space={stay_near: {low: 0, high: 1, log: true}}", "must be > 0 on a log scale", ""),
    ("finetune={warmup_frac: 1}", "must be in [0, 1), got 1", ""),
    ("finetune={warmup_frac: 1e999}", "must be a finite number, got inf", ""),
    ("finetune={seed: 1}", "unknown key", "it is the sweep's own key seed"),
    ("finetune={max_epochs: 1}", "unknown key", "it belongs under budget"),
    ("finetune={weight_decay: 0}", "is searched by the space", "{base: ..., weight_decay: null}"),
    ("storage=''", "must be a path of printable characters", ""),
    ("storage=gcs://bucket/x", "must be a folder, or start with s3://, gs:// or abfs://", "'gs'?"),
    ("storage=file:///tmp/x", "must be a folder", "write the path alone"),
    ("storage=s3://", "got 's3://'", "a bucket must follow: s3://bucket/folder"),
    ("tracking_uri=./mlruns", "MLflow 3 writes to no folder, got './mlruns'", "migrate-filestore"),
    ("tracking_uri=file:///tmp/mlruns", "MLflow 3 writes to no folder", "sqlite:///path/mlflow.db"),
    ("tracking_uri=not a uri", "must be auto, or start with http://", ""),
    ("tracking_uri=htp://host", "must be auto, or start with http://", "did you mean 'http'?"),
    ("tracking_uri=http://", "must name a host after http://", ""),
    ("tracking_uri=http://[::1", "must name a host after http://", ""),
    ("tracking_uri=http://host:port", "must name a host after http://", ""),
    ("tracking_uri=sqlite://mlflow.db", "must name a file after three slashes", "sqlite:///mlflow.db"),
    ("tracking_uri='sqlite:///:memory:'", "must name a file after three slashes", ""),
]

OVERRIDES: list[Any] = [
    ("trials", "--set", "", "must be key=value, got 'trials'", "e.g. --set budget.trials=4"),
    ("=3", "--set", "", "must be key=value, got '=3'", ""),
    ("a..b=3", "--set", "", "must be key=value", ""),
    ("budget.trials=", "--set budget.trials", "", "is empty: it needs a value", ""),
    ("budget.trials=[", "--set budget.trials", "", "is not YAML", ""),
    ("budget.trails=3", "--set budget.trails", "budget.trails", "unknown key", "did you mean 'trials'?"),
    ("new.key=3", "--set new.key", "new", "unknown key", ""),
    ("tasks.7.name=a", "--set tasks.7.name", "tasks.7.name", "its index must be 0 to 0, got '7'", ""),
    ("tasks.0000001.name=a", "--set tasks.0000001.name", None, "its index must be 0 to 0", ""),
    ("tasks.x.name=a", "--set tasks.x.name", "tasks.x.name", "its index must be 0 to 0, got 'x'", ""),
    (
        "name.x=3",
        "--set name.x",
        "name.x",
        "name must be a mapping to be set in part, got 'small'",
        "--set name=...",
    ),
]


def assert_told(told: tuple[Problem, ...], where: str, key: str | None, message: str, hint: str) -> None:
    for problem in told:
        at = problem.where == where and key in (None, problem.key)
        if at and message in problem.message and hint in problem.hint:
            return
    pytest.fail("\n".join([f"no {where} {key} {message!r} {hint!r} in", *map(str, told)]))


@pytest.mark.parametrize(("text", "where", "key", "message", "hint"), TEXTS)
def test_files(tmp_path: Path, text: str | bytes, where: str, key: str, message: str, hint: str) -> None:
    assert_told(problems(tmp_path, text), where, key, message, hint)


@pytest.mark.parametrize(("override", "message", "hint"), VALUES)
def test_values(tmp_path: Path, override: str, message: str, hint: str) -> None:
    told = problems(tmp_path, SWEEP, (override,))
    where = f"--set {override.partition('=')[0]}"
    if "num_train (20)" in message or "(10)" in message:
        where = "my.yaml"  # of a batch size that is written nowhere
    assert_told(told, where, None, message, hint)


@pytest.mark.parametrize(("override", "where", "key", "message", "hint"), OVERRIDES)
def test_overrides(tmp_path: Path, override: str, where: str, key: str | None, message: str, hint: str) -> None:
    assert_told(problems(tmp_path, SWEEP, (override,)), where, key, message, hint)


def test_everything_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = SWEEP.replace("small", "a/b").replace("trials: 8", "trials: 0") + "seed: x\nlr: 1\nseed: 2\n"
    told = problems(tmp_path, text, ("storage=gcs://x", "budget.grace_epochs=4"))
    assert [(p.where, p.key) for p in told] == [
        ("my.yaml:1", "name"),
        ("my.yaml:7", "budget.trials"),
        ("my.yaml:8", "seed"),
        ("my.yaml:9", "lr"),
        ("my.yaml:10", "seed"),
        ("--set budget.grace_epochs", "budget.grace_epochs"),
        ("--set storage", "storage"),
    ]


REGRESSION = SWEEP.replace("num_train: 100", "kind: regression")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("finetune.class_weight=balanced", "finetune.class_weight"),
        ("space.class_weight.choice=[none, balanced]", "space.class_weight"),
    ],
)
def test_a_regression_has_no_classes_to_balance(tmp_path: Path, override: str, key: str) -> None:
    message = "must be none for a regression, which has no classes: task digits, got 'balanced'"
    assert_told(
        problems(tmp_path, REGRESSION, (override,)), f"--set {override.partition('=')[0]}", key, message, "remove it"
    )


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("finetune.augmentation=flip", "finetune.augmentation"),
        ("space.augmentation.choice=[none, flip]", "space.augmentation"),
    ],
)
def test_only_images_are_augmented(tmp_path: Path, override: str, key: str) -> None:
    where = f"--set {override.partition('=')[0]}"
    texts = SWEEP.replace("num_train: 100", "data: x.csv").replace("[timm/a, timm/b]", "[hf/a, hf/b]")
    message = "must be none for text data, as only images are augmented: task digits, got 'flip'"
    said = texts.replace("data: x.csv", "data: x.csv\n    modality: text")
    assert_told(problems(tmp_path, said, (override,)), where, key, message, "remove it")
    known = texts.replace("hf/b", "hf/distilbert/distilbert-base-uncased")
    assert_told(problems(tmp_path, known, (override,)), where, key, message, "remove it")
    file = tmp_path / "fine.yaml"
    for fine in (SWEEP, texts):  # images, and data of a kind that nobody knows yet
        file.write_text(fine)
        assert load_sweep(file, (override,))


def test_backbones_and_tasks_of_one_modality(tmp_path: Path) -> None:
    text = SWEEP.replace("num_train: 100", "{data: x.csv, modality: text}".strip("{}").replace(", ", "\n    "))
    assert_told(
        problems(tmp_path, text),
        "my.yaml:6",
        "backbones.0",
        "takes image, and task digits is of text data, got 'timm/a'",
        "rank backbones of one modality per sweep",
    )


def test_depths_beyond_the_blocks_of_a_known_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.catalog._facts", lambda: FACTS)
    text = SWEEP.replace("timm/b", "timm/shallow") + "space: {freeze_depth: {low: 0, high: 9}}\n"
    message = "must be <= num_blocks (6) of timm/shallow, got 9"
    assert_told(problems(tmp_path, text), "my.yaml:8", "space.freeze_depth.high", message, "")
    fixed = text.replace("space: {freeze", "finetune: {freeze").replace("{low: 0, high: 9}", "9")
    fixed += "space: {weight_decay: {low: 0, high: 1}}\n"
    assert_told(problems(tmp_path, fixed), "my.yaml:8", "finetune.freeze_depth", message, "")
    window = fixed.replace("{freeze_depth: 9}", "{tune_window: [4, 8]}")
    message = "must lie within the num_blocks (6) of timm/shallow, got [4, 8]"
    assert_told(problems(tmp_path, window), "my.yaml:8", "finetune.tune_window", message, "")
    searched = SWEEP.replace("timm/b", "timm/shallow") + "space: {tune_window: {parts: 7}}\n"
    message = "must be <= num_blocks (6) of timm/shallow, got 7"
    assert_told(problems(tmp_path, searched), "my.yaml:8", "space.tune_window.parts", message, "")
