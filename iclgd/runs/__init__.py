"""Finished runs, opened again: :func:`iclgd.load_run`, their analyses and figures."""
