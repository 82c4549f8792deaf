"""What a sweep will do, before anything runs: studies, trials, cost, what is cached."""

__all__ = ()
