"""Metrics: names of a recipe -> what an engine feeds batch by batch. Importing this imports no library."""

from hf_finetune.metrics import bundled, hub  # registers them
from hf_finetune.metrics.base import METRICS, Metric
from hf_finetune.metrics.metric_set import MetricSet, add_unknown, build_metrics

__all__ = ["METRICS", "Metric", "MetricSet", "add_unknown", "build_metrics", "bundled", "hub"]
