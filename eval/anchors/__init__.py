"""Codecs to compare with: one interface, one registry."""
