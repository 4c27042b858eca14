"""How a network is trained: learner, checkpoints, batches read ahead, devices and precision.

Knows no loss. May import `runtime` and `types`.
"""
