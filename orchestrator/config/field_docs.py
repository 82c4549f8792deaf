"""The documentation written under each field of a dataclass, for schemas and help."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise

__all__ = ["field_docs"]


def field_docs(cls: type) -> dict[str, str]:
    """Field name -> the text under it, on one line; empty where Python has no source to read."""
    try:
        definition = ast.parse(inspect.getsource(cls)).body[0]
    except (OSError, TypeError):
        return {}
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    docs: dict[str, str] = {}
    for statement, below in pairwise(body):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = " ".join(text.split())
    return docs
