"""What walks compute with, over NumPy or torch alike: arrays, exact layers, rates, rounding."""
