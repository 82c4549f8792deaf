"""What happens inside Ray's workers: a run is asked for, loaded, trained and measured."""

__all__ = ()
