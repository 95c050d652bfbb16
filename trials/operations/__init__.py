"""One file an operation: which sites it takes, its units and their size."""
