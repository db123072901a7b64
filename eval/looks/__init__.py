"""Pictures that show what a model knows: samples, interpolations, codebooks."""
