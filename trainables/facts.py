"""Write `facts.json`: what planning needs to know of an architecture, measured on the built one.

``python -m trainables.facts`` rebuilds the table for the architectures listed here. Models are built and
run on torch's meta device: shapes and FLOPs without weights or arithmetic.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from trainables.backbones import build
from trainables.catalog import lookup
from trainables.hf_facts import HF_CHECKPOINTS, build_published, example

__all__ = ["ARCHITECTURES", "measure"]

_TORCHVISION: Final = """
    alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169
    densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4
    efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s
    googlenet inception_v3 maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2
    mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf
    regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf
    regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34
    resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0
    shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b
    swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32
    vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2
"""
"""All its classification models."""

_TIMM: Final = """
    beit_base_patch16_224 beit_large_patch16_224 beitv2_base_patch16_224 caformer_s18 cait_xxs24_224
    coatnet_0_rw_224 coatnet_rmlp_1_rw_224 convformer_s18 convnext_atto convnext_base convnext_femto
    convnext_large convnext_nano convnext_pico convnext_small convnext_tiny convnextv2_atto convnextv2_base
    convnextv2_femto convnextv2_nano convnextv2_pico convnextv2_tiny crossvit_tiny_240 cspresnet50 davit_tiny
    deit3_base_patch16_224 deit3_small_patch16_224 deit_base_distilled_patch16_224 deit_base_patch16_224
    deit_small_patch16_224 deit_tiny_distilled_patch16_224 deit_tiny_patch16_224 densenet121 densenet169
    densenet201 dla34 dpn68b edgenext_small edgenext_x_small edgenext_xx_small efficientformer_l1
    efficientformerv2_s0 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4
    efficientnet_lite0 efficientnetv2_rw_m efficientnetv2_rw_s efficientnetv2_rw_t efficientvit_b0
    efficientvit_b1 efficientvit_m0 efficientvit_m4 eva02_base_patch14_448 eva02_small_patch14_336
    eva02_tiny_patch14_336 fastvit_sa12 fastvit_t8 focalnet_tiny_srf ghostnet_100 ghostnetv2_100
    hgnetv2_b0 hiera_tiny_224 hrnet_w18 hrnet_w18_small hrnet_w32 inception_resnet_v2 inception_v3
    inception_v4 lcnet_050 lcnet_100 levit_128s levit_256 maxvit_base_tf_224 maxvit_rmlp_nano_rw_256
    maxvit_tiny_tf_224 mixer_b16_224 mixer_s32_224 mnasnet_100 mobilenetv2_100 mobilenetv2_140
    mobilenetv3_large_100 mobilenetv3_small_050 mobilenetv3_small_100 mobilenetv4_conv_large
    mobilenetv4_conv_medium mobilenetv4_conv_small mobilenetv4_hybrid_medium mobileone_s0 mobileone_s1
    mobilevit_s mobilevit_xs mobilevit_xxs mobilevitv2_050 mobilevitv2_100 mvitv2_tiny nextvit_small
    nf_resnet50 pit_s_224 poolformer_s12 pvt_v2_b0 pvt_v2_b2 regnetx_002 regnety_002 regnety_016
    regnety_032 repvgg_a0 repvgg_b0 repvit_m1 res2net50_26w_4s resmlp_12_224 resnest14d resnest50d
    resnet101 resnet101d resnet152 resnet18 resnet18d resnet26d resnet34 resnet34d resnet50 resnet50d
    resnetrs50 resnetv2_50 resnetv2_50x1_bit resnext50_32x4d rexnet_100 semnasnet_100 seresnet50
    seresnext50_32x4d swin_base_patch4_window7_224 swin_small_patch4_window7_224 swin_tiny_patch4_window7_224
    swinv2_tiny_window8_256 tf_efficientnet_b0 tf_efficientnet_lite0 tf_efficientnet_lite1
    tf_efficientnet_lite2 tf_efficientnet_lite3 tf_efficientnet_lite4 tf_efficientnetv2_b0
    tf_efficientnetv2_s tf_mobilenetv3_small_minimal_100 tiny_vit_5m_224 tiny_vit_21m_224 twins_svt_small vgg16
    visformer_tiny vit_base_patch14_dinov2 vit_base_patch16_224 vit_base_patch16_clip_224
    vit_base_patch16_dinov3 vit_base_patch16_siglip_224 vit_base_patch32_224 vit_large_patch16_224
    vit_small_patch14_dinov2 vit_small_patch16_224 vit_small_patch16_dinov3 vit_small_patch32_224
    vit_tiny_patch16_224 volo_d1_224 wide_resnet50_2 xception41 xcit_nano_12_p16_224 xcit_tiny_12_p16_224
"""

ARCHITECTURES: Final = (
    *(f"torchvision/{name}" for name in _TORCHVISION.split()),
    *(f"timm/{name}" for name in _TIMM.split()),
    *(f"hf/{name}" for name in HF_CHECKPOINTS),
)


def measure(name: str) -> dict[str, Any]:
    """Facts of ``source/architecture``, as `BackboneSpec` names them, at its own input size.

    Texts are run for real: transformers looks into their masks, which torch's meta device does not have.
    """
    source, _, architecture = name.partition("/")
    is_text = source == "hf" and HF_CHECKPOINTS[architecture].modality == "text"
    with torch.device("cpu" if is_text else "meta"):
        backbone = build_published(architecture) if source == "hf" else build(lookup(f"{name}@random"))
        state, size = example(backbone)
        block_flops, boundary_elements = [], []
        for block in backbone.requires_grad_(False).blocks:
            with FlopCounterMode(display=False) as counter:
                state = block(state)
            block_flops.append(counter.get_total_flops())
            boundary_elements.append(sum(t.numel() for t in ((state,) if isinstance(state, Tensor) else state)))
    return {
        "modality": backbone.preprocessing.modality,
        "num_blocks": backbone.num_blocks,
        "num_params": sum(p.numel() for p in backbone.blocks.parameters()),
        "input_size": size,
        "block_flops": block_flops,
        "boundary_elements": boundary_elements,
    }


def main() -> None:
    """Rewrite the table beside this file."""
    table = {}
    for name in ARCHITECTURES:
        table[name] = measure(name)
        print(name, table[name]["num_blocks"], file=sys.stderr)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(facts)}" for name, facts in sorted(table.items()))
    Path(__file__).with_name("facts.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
