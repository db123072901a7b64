"""Model families behind one interface, and the registry that finds their weights."""
