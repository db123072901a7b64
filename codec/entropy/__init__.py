"""Exact entropy coding: integer frequency tables and the range coder that uses them.

Everything that a decoder must reproduce bit for bit is an integer and passes through here. Nothing
in this package imports torch, and `tables` does without constriction: training needs it too.
"""
