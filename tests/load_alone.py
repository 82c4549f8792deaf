"""Loads an MLflow model as on a machine without this project and without network, and says what it answers.

    python -I load_alone.py MODEL

Run by a test, in a process of its own.
"""

from __future__ import annotations

import ast
import json
import socket
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, NoReturn

OURS = ("trainables", "orchestrator", "search_spaces")


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise OSError("there is no network here")


def main(folder: Path) -> None:
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
    sys.path[:] = [place for place in sys.path if not any((Path(place) / name).is_dir() for name in OURS)]
    socket.socket.connect = refuse  # type: ignore[method-assign]
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(folder))
    answer = model.predict(model.input_example)
    import trainables

    pinned = {line.partition("==")[0].lower() for line in (folder / "requirements.txt").read_text().split()}
    of_module = packages_distributions()
    unpinned = [name for name in sorted(imported()) if not pinned & {one.lower() for one in of_module.get(name, [])}]
    print(json.dumps({"code": trainables.__file__, "label": list(answer["label"]), "unpinned": unpinned}))


def imported() -> set[str]:
    """Libraries that the modules of ours which were loaded ask for, and that were loaded."""
    files = [module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in OURS]
    found: set[str] = set()
    for file in filter(None, files):
        for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return (found & sys.modules.keys()) - set(OURS) - sys.stdlib_module_names


if __name__ == "__main__":
    main(Path(sys.argv[1]))
