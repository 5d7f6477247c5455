"""Bundled `evaluate.Metric` modules, one folder each, loaded by absolute path.

`evaluate` copies a module's file to its own cache and imports the copy, so a module imports what it shares
with the others from here, by its full name. They need `evaluate`: import nothing of this folder early.
"""
