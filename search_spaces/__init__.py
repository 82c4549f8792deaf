"""Declarative search spaces over the fields of one fine-tuning run, and the sweeps shipped as YAML."""

from __future__ import annotations

from search_spaces.errors import BrokenRule, InvalidSpace
from search_spaces.parameters import NUM_BLOCKS, Choice, FloatRange, IntRange, Trial
from search_spaces.reading import load_space, read_space, space_names, space_schema
from search_spaces.searchable import SEARCHABLE, Window
from search_spaces.space import BoundSpace, Parameter, SearchSpace
from search_spaces.window import WindowChoice, WindowParts

__all__ = [
    "NUM_BLOCKS",
    "SEARCHABLE",
    "BoundSpace",
    "BrokenRule",
    "Choice",
    "FloatRange",
    "IntRange",
    "InvalidSpace",
    "Parameter",
    "SearchSpace",
    "Trial",
    "Window",
    "WindowChoice",
    "WindowParts",
    "load_space",
    "read_space",
    "space_names",
    "space_schema",
]
