"""Tests of codec / models."""
