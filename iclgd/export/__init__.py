"""The published record format, and how a finished run is written in it."""
