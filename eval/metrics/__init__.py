"""Image metrics: one interface; their records are in `imgcodec.eval.quality`."""

from imgcodec.eval.metrics.base import Metric, MetricError, MetricOptions, create_metrics

__all__ = ["Metric", "MetricError", "MetricOptions", "create_metrics"]
