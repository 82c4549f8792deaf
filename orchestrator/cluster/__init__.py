"""Ray clusters: who may join, what they hold, whether every node is fit, and the files that start them."""

__all__ = ()
