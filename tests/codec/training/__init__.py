"""Tests of codec / training."""
