"""Before anything runs: what it takes, whether it fits, how long, in which packs; no weights are loaded."""
