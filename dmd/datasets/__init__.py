"""Images and pairs on disk, and what their labels mean.

May import `runtime` and `types`.
"""
