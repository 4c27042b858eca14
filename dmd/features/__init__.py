"""Frozen networks that compare images: feature nets and perceptual distances.

May import `runtime` and `types`.
"""
