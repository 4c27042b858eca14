"""Networks, and teacher and generator on disk as diffusers' folders.

May import the mathematics (`diffusion`), `params` and `runtime`.
"""
