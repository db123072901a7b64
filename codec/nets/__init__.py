"""Building blocks of the models: float transforms, exact networks, the KLT, rate terms."""
