"""The charts of a review as plain data: the papers' figures, redrawn for groups of runs, and those of sweeps."""
