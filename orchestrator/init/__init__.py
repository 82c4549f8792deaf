"""From somebody's data to a sweep file."""

__all__ = ()
