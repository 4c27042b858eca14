"""Measured ratios: this project against public libraries and against the floor of network calls."""
