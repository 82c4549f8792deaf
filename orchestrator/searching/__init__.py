"""Which configuration is trained next, stopped, chosen and confirmed."""

__all__ = ()
