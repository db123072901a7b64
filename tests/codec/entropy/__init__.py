"""Tests of codec / entropy."""
