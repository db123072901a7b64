"""Training: recipe, data bank, optimiser, loop, validation on real bytes, export."""
