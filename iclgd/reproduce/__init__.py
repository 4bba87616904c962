"""Reproduce a paper: its figures and tables from sweeps of ours, and a verdict for each of its claims."""
