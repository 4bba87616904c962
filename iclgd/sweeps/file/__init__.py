"""Sweep files: their schema, the search space that they describe, and checks against the config."""
