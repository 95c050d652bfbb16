"""Several processes, the ranks, that run a pack together."""
