"""Model families without torch: the walk of each, shared by training and by the codec."""
