"""Shipped weights: one safetensors file a model, with tables, hash, licence and provenance."""
