"""What the stage `teacher` does: a network made or trained here, and the configs that go to disk with it.

No other stage's room enters it.
"""
