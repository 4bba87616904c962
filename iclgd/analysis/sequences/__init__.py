"""What a transformer over sequences is compared with, and what its layers know."""
