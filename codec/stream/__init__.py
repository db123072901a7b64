"""Bytes: the container, the entropy coder and its integer tables; never torch."""
