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
from torch.utils.flop_counter import FlopCounterMode

from trainables.backbones import build
from trainables.catalog import BackboneSpec, lookup

__all__ = ["ARCHITECTURES", "measure"]

ARCHITECTURES: Final = (
    *(f"timm/tf_efficientnet_lite{size}" for size in range(5)),
    *(f"timm/resnet{depth}" for depth in (18, 34, 50, 101)),
    *(f"timm/vit_{size}_patch16_224" for size in ("tiny", "small", "base")),
    *(f"timm/deit3_{size}_patch16_224" for size in ("small", "base")),
    *(f"timm/convnext_{size}" for size in ("atto", "nano", "tiny", "small", "base")),
    "timm/swin_tiny_patch4_window7_224",
    "timm/mobilenetv3_large_100",
    "timm/efficientnet_b0",
    *(f"torchvision/resnet{depth}" for depth in (18, 34, 50, 101)),
    *(f"torchvision/convnext_{size}" for size in ("tiny", "small", "base")),
    *(f"torchvision/efficientnet_{size}" for size in ("b0", "b1", "b2", "b3", "v2_s")),
    "torchvision/densenet121",
    "torchvision/mobilenet_v2",
    "torchvision/mobilenet_v3_small",
    "torchvision/mobilenet_v3_large",
    "torchvision/swin_t",
    "torchvision/vit_b_16",
)


def measure(spec: BackboneSpec) -> dict[str, Any]:
    """Facts of one architecture, as `BackboneSpec` names them, at its own input size."""
    with torch.device("meta"), torch.no_grad():
        backbone = build(spec)
        side = backbone.preprocessing.input_size
        x = torch.empty(1, 3, side, side)
        block_flops, boundary_elements = [], []
        for block in backbone.blocks:
            with FlopCounterMode(display=False) as counter:
                x = block(x)
            block_flops.append(counter.get_total_flops())
            boundary_elements.append(x.numel())
    return {
        "num_blocks": backbone.num_blocks,
        "num_params": sum(p.numel() for p in backbone.blocks.parameters()),
        "input_size": side,
        "block_flops": block_flops,
        "boundary_elements": boundary_elements,
    }


def main() -> None:
    """Rewrite the table beside this file."""
    table = {}
    for architecture in ARCHITECTURES:
        table[architecture] = measure(lookup(f"{architecture}@random"))
        print(architecture, table[architecture]["num_blocks"], file=sys.stderr)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(facts)}" for name, facts in sorted(table.items()))
    Path(__file__).with_name("facts.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
