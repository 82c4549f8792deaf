"""What a sweep notes of the weights it began with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from twin import small_config

from orchestrator.errors import EnvironmentUnusable
from orchestrator.provenance import require_same
from orchestrator.workers.inspection import forget, inspect_study
from trainables.backbones import build
from trainables.catalog import lookup


def test_weights_are_known_again_by_their_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path))
    file = tmp_path / "mine.pth"
    architecture = "timm/test_resnet"

    def inspected(name: str) -> dict[str, Any]:
        config = small_config(backbones=[name])
        forget()
        return {"study": "digits", **inspect_study(config, config.tasks[0], name)}

    import timm

    model = timm.create_model("test_resnet")
    torch.save(model.state_dict(), file)
    first, again = inspected(f"{architecture}@{file}"), inspected(f"{architecture}@{file}")
    assert len(first["weights_digest"]) == 64
    assert first["weights_revision"] is None
    require_same([first], [again])
    with torch.no_grad():
        next(iter(model.parameters()))[0] += 1e-6
    torch.save(model.state_dict(), file)
    with pytest.raises(EnvironmentUnusable, match="weights_digest was "):
        require_same([first], [inspected(f"{architecture}@{file}")])
    assert inspected(f"{architecture}@random")["weights_digest"] == ""
    assert build(lookup(f"{architecture}@random")).revision is None
    forget()
