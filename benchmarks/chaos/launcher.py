"""The command line with another worker in it: ``python -m benchmarks.chaos.launcher sweep FILE``.

All else is the program's own. Which worker it is, an environment variable says; see `benchmarks.chaos.victim`.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any, Final

from benchmarks.chaos.victim import WORKER

__all__ = ["main"]

NUM_BLOCKS: Final = 7


def main() -> None:
    """Put the worker in its place and run the command."""
    kind = os.environ[WORKER]
    if kind == "made_up":
        from benchmarks.chaos.made_up import MadeUpWorker

        # Neither the real worker nor the inspection, whose imports of torch are most of a short life.
        _stand_in("orchestrator.workers.worker", FinetuneWorker=MadeUpWorker)
        _stand_in("orchestrator.workers.inspection", inspect_study=_made_up_facts, forget=lambda: None)
    else:
        worker = importlib.import_module("benchmarks.chaos.real")
        original = importlib.import_module("orchestrator.workers.worker")
        vars(original)["FinetuneWorker"] = {"real": worker.LoggedWorker, "sabotaged": worker.SabotagedWorker}[kind]
    from orchestrator.cli import run

    run()


def _stand_in(name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module


def _made_up_facts(*_: object) -> dict[str, Any]:
    """What inspecting a study would have found out."""
    return {
        "num_blocks": NUM_BLOCKS,
        "kind": "classification",
        "modality": "image",
        "num_train": 40,
        "num_val": 20,
        "num_test": 20,
        "num_classes": 10,
        "num_outputs": 10,
        "metric": "accuracy",
        "chance": 0.1,
        "digest": "",
        "input": "32 px",
    }


if __name__ == "__main__":
    main()
