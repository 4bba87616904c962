"""Where results go: the run directory, which is the truth, and W&B, which mirrors it."""
