"""Runs as a person asks for them: all, one in full, one again alone."""

__all__ = ()
