"""Which trials come next: those that narrow the thresholds most, from the rows so far."""
