"""Sweeps that are killed, starved and sabotaged, and what must be true of them afterwards."""
