"""Measured ratios: this project against public libraries and against the floor of network calls."""

from dmd.runtime.threads import share_cores

share_cores()  # before a module below imports torch
