"""A review of many runs: what was asked, is it so, how sure are we; as a page without a server, and in W&B."""
