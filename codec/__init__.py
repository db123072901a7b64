"""The codec: pictures to `.cvb` streams and back.

Data walks down `api -> models -> entropy -> container` when it encodes and back up when it
decodes; `image` reads and writes pictures. Import what you need from the submodules; the public
face is the `imgcodec` package.
"""
