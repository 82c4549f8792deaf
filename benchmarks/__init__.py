"""Measurements, one command each. See README.md."""
