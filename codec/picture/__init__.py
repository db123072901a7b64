"""Pictures: whatever Pillow reads, to 8-bit RGB with alpha and metadata, and back.

`read` makes a `Picture` of a file, `write` makes a file of an image. `probe` finds what a file says
and Pillow does not tell, `depth` scales samples, `colour` makes and applies profiles, `metadata`
is the one place that knows how Pillow keeps ICC, EXIF and XMP. `sheet` draws many pictures as one.
"""
