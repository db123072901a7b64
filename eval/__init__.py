"""Evaluation: metrics, other codecs, runner, curves, reports."""
