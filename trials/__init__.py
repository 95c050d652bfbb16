"""What a trial is: sweeps, tasks, backbones, counts, random streams, the row and the store. No torch, no ray."""
