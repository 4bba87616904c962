"""Launchers, which start workers here or on a cluster, and W&B's server."""
