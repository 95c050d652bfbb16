"""What happens to a pack, from its backbone to its rows: run, loop, trial states, evaluation, checkpoints, recorder."""
