"""Studies of two scales with known spreads, and what `apet dispersion` says of them; a file a kind."""
