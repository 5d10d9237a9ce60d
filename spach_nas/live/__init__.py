"""A search while it runs: how far it is, for its own terminal and for others that watch it."""
