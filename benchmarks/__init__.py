"""Speed beside a peer, in the same run; started with ``iclgd bench NAME``."""
