"""What the stage `evaluate` does: scores of generated images against the real ones.

No other stage's room enters it.
"""
