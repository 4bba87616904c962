"""How far a sweep is, and how that is shown."""
