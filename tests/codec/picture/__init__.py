"""Tests of imgcodec.codec.picture."""
