"""Bundled `evaluate.Metric` modules, one folder each, loaded by absolute path."""
