"""The tuned networks that a sweep keeps, and what becomes of them."""

__all__ = ()
