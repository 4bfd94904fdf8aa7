"""Data to learn from: which layout it has, what its concepts are, and what is wrong with it."""
