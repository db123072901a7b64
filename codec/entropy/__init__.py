"""Exact entropy coding: integer frequency tables and the range coder that uses them.

Everything that a decoder must reproduce bit for bit is an integer and passes through here. Nothing
in this package imports torch.
"""

from imgcodec.codec.entropy.coder import PassDecoder, PassEncoder
from imgcodec.codec.entropy.tables import Tables

__all__ = ["PassDecoder", "PassEncoder", "Tables"]
