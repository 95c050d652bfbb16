"""The store of results: files, rows, what readers see of them, and heartbeats of live runs."""
