"""The card of a kept model: what it is, how good it is and how anybody knows, how to use it, and what it is not for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, Final

from trainables.exported.facts import ModelFacts

__all__ = ["model_card"]

_METRICS: Final = {"accuracy": "accuracy", "f1_macro": "macro F1", "r2": "R²"}
_SAMPLES: Final = {"image": "images", "text": "texts", "audio": "sounds"}
_COLUMNS: Final = {
    "image": "`image`: the bytes of an encoded image (PNG, JPEG, WebP, ...)",
    "text": "`text`: a text",
    "audio": "`audio`: the bytes of a sound file (WAV, FLAC, OGG, MP3)",
}
_READ: Final = {
    "image": 'open("picture.jpg", "rb").read()',
    "text": '"A text of yours."',
    "audio": 'open("sound.wav", "rb").read()',
}
_SETTINGS: Final = (
    *("learning_rate", "head_learning_rate", "weight_decay", "layer_decay", "head_init", "stay_near", "batch_size"),
    *("max_epochs", "optimizer", "schedule", "class_weight", "augmentation", "seed"),
)
_Z95: Final = 1.959964
_MOST_CLASSES: Final = 20


def model_card(facts: ModelFacts, row: Mapping[str, Any], scores: Sequence[float]) -> str:
    """The card in Markdown.

    Args:
        facts: of the model.
        row: of the ranking, of schema RANKING; empty where the study has none.
        scores: test scores of all confirmations of this configuration, this network's among them.
    """
    parts = [
        f"# {facts.backbone}, fine-tuned on {facts.task}",
        _summary(facts),
        "## How good it is",
        _quality(facts, row, scores),
        "## How it was chosen",
        _choice(facts, len(scores)),
        "## How to use it",
        _usage(facts),
        "## What it was trained with",
        _training(facts),
        "## What it is not",
        _limits(facts),
        "## Licence",
        "Unknown to the program that wrote this card. It is derived from the pretrained checkpoint "
        f"`{facts.backbone}` and from the data of `{facts.task}`: what they allow holds for it too.",
    ]
    return "\n\n".join(parts) + "\n"


def _summary(facts: ModelFacts) -> str:
    what = {
        "classification": f"tells {len(facts.class_names)} classes of {_SAMPLES[facts.modality]} apart",
        "multilabel": f"gives {_SAMPLES[facts.modality]} any of {len(facts.class_names)} labels",
        "regression": f"estimates {_listed(facts.class_names)} of {_SAMPLES[facts.modality]}",
    }[facts.kind]
    return f"A network that {what}. {_depth(facts)}"


def _depth(facts: ModelFacts) -> str:
    window, depth = facts.config.get("tune_window"), int(facts.config["freeze_depth"])
    if window:
        return (
            f"Blocks {window[0]} to {window[1] - 1} of {facts.num_blocks} and the head were tuned, the others frozen."
        )
    if depth >= facts.num_blocks:
        return f"All {facts.num_blocks} blocks are as pretrained; the head alone was trained (a linear probe)."
    if depth == 0:
        return f"All {facts.num_blocks} blocks and the head were tuned."
    if depth == 1:
        return f"The first of {facts.num_blocks} blocks is as pretrained; the others and the head were tuned."
    return f"The first {depth} of {facts.num_blocks} blocks are as pretrained; the others and the head were tuned."


def _quality(facts: ModelFacts, row: Mapping[str, Any], scores: Sequence[float]) -> str:
    name = _METRICS[facts.metric]
    lines = [
        "| | |",
        "|---|---|",
        f"| test {name} of this network | {facts.test_score:.4f}{_wilson(facts)} on {facts.num_test:,} test samples |",
    ]
    if len(scores) > 1:
        spread = f"{fmean(scores):.4f} ± {stdev(scores):.4f} (standard deviation over {len(scores)} seeds)"
        lines.append(f"| test {name} of all confirmations | {spread} |")
    lines += [
        f"| {name} of the best constant answer | {facts.chance:.4f} |",
        f"| validation {name} | {facts.val_score:.4f} on {facts.num_val:,} samples |",
    ]
    if row.get("score") is not None:
        lines.append(
            f"| adaptability score of the backbone | {100 * row['score']:.1f} (95 %: {100 * row['ci_low']:.1f} to "
            f"{100 * row['ci_high']:.1f}; chance 0, perfect 100) |"
        )
    if row.get("rank_low") is not None:
        lines.append(f"| rank among the sweep's backbones | {row['rank_low']} to {row['rank_high']} |")
    return "\n".join(lines)


def _wilson(facts: ModelFacts) -> str:
    """Interval of a share of right answers; other metrics have none as simple."""
    if facts.metric != "accuracy":
        return ""
    n, p, z = facts.num_test, facts.test_score, _Z95
    centre, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((centre + sign * width) / (1 + z * z / n) for sign in (-1, 1))
    return f" (95 %: {low:.4f} to {high:.4f}, of the test sample alone)"


def _choice(facts: ModelFacts, num_confirmations: int) -> str:
    return (
        "The configuration was chosen among the trials of its backbone by their smoothed validation scores, and then "
        f"trained again with {num_confirmations} fresh seeds. Of these networks this is the one with the best "
        f"validation score (seed {facts.config['seed']}, run {facts.origin.get('number')} of the study "
        f"`{facts.origin.get('study')}`, sweep `{facts.origin.get('sweep')}`), with the weights of epoch "
        f"{facts.best_epoch} of {facts.config['max_epochs']}, its best on validation. Test data had no say in any of "
        "this. If several sweeps, or several backbones, are compared by these test scores and the best is taken, its "
        "score is a little too high."
    )


def _usage(facts: ModelFacts) -> str:
    columns = [_COLUMNS[facts.modality], *(["`text_pair`: the second text"] if facts.inputs.get("pairs") else [])]
    values = [_READ[facts.modality], *(['"And what belongs to it."'] if facts.inputs.get("pairs") else [])]
    table = ", ".join(f'"{name}": [{value}]' for name, value in zip(facts.input_columns, values, strict=True))
    return f"""```python
import mlflow, pandas

model = mlflow.pyfunc.load_model("path/or/uri/of/this/model")
model.predict(pandas.DataFrame({{{table}}}))
```

In: {"; ".join(columns)}. Out: {_outputs(facts)} Samples are decoded and prepared by the very code of the
training, which lies beside the weights; nothing is downloaded.

Without MLflow: `trainables.exported.load_model("path/of/this/model").predict([...])`. As a server:
`mlflow models serve -m path/of/this/model --env-manager local`. `requirements.txt` pins what it was made with."""


def _outputs(facts: ModelFacts) -> str:
    if facts.kind == "regression":
        return f"{_listed([f'`{name}`' for name in facts.class_names])}, in the units of the training data."
    probabilities = f"`probability_<name>` for each of {_listed(facts.class_names)}."
    if facts.kind == "multilabel":
        return f"{probabilities} A label is given where its probability is above one half."
    return f"`label`, and {probabilities}"


def _training(facts: ModelFacts) -> str:
    rows = [("task", facts.task), ("data (sha256 of the encoded samples)", f"`{facts.data_digest[:16]}`")]
    rows.append(("samples (training, validation, test)", f"{facts.num_train:,}, {facts.num_val:,}, {facts.num_test:,}"))
    rows.append(("inputs", ", ".join(f"{name} {value}" for name, value in facts.inputs.items())))
    rows += [(name, str(facts.config[name])) for name in _SETTINGS if facts.config.get(name) is not None]
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items())))
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _limits(facts: ModelFacts) -> str:
    samples = _SAMPLES[facts.modality]
    closed = (
        "It always answers with one of its classes, also for samples of none of them. "
        if facts.kind == "classification"
        else ""
    )
    return (
        f"Its scores say how it does on {samples} like those it was tested on, and nothing about others. {closed}"
        "Probabilities are as trained, not calibrated. Whether it treats groups of people alike was not measured. "
        "`example/` (and the input example) holds one sample of the test data."
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_CLASSES} more" if len(names) > _MOST_CLASSES else ""
    return ", ".join(names[:_MOST_CLASSES]) + more
