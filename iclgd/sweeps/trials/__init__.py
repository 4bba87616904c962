"""The trials of a sweep: how they are planned, taken, ended and kept."""
