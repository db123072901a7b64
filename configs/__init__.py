"""YAML recipes: data, no logic."""
