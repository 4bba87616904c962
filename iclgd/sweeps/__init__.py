"""Sweeps: many runs of one experiment, on this machine, on a cluster, or handed out by W&B's server."""
