"""What the stage `pairs` does: noises and the images that the teacher's ODE makes of them, in chunks.

Shards and their reader lie in `dmd.datasets.pairs`, since `distill` reads them too. No other stage's room enters it.
"""
