"""LightningModules, and what belongs to them alone."""
