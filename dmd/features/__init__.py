"""Frozen networks that compare images: feature nets and perceptual distances.

May import `params`, `runtime` and `types`.
"""
