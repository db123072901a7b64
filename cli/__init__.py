"""The ``imgcodec`` command: one file per subcommand; parse, call, print.

Modules here import click and the standard library only; everything heavier is imported inside
the function that needs it, which keeps ``imgcodec --help`` below 0.3 s.
"""
