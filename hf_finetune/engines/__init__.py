"""The engines: two ways to train the same ingredients to the same numbers."""
