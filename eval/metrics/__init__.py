"""Image metrics: one interface, one registry."""

from imgcodec.eval.metrics.base import (
    Metric,
    MetricError,
    MetricOptions,
    create_metrics,
    metric_names,
)

__all__ = ["Metric", "MetricError", "MetricOptions", "create_metrics", "metric_names"]
