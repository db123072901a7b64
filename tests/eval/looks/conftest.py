"""The small models of the codec's tests."""

from tests.codec.conftest import family_weights, installed, shipped, tiny, tiny_weights

__all__ = ["family_weights", "installed", "shipped", "tiny", "tiny_weights"]
