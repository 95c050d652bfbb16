"""Parts of ``benchmarks/statistics.py``, a file a kind."""
