"""Tests of codec / nets."""
