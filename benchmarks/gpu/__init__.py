"""Parts of ``benchmarks/gpu.py``: a file a kind of part, whose ``run`` gives its lines; and what they share."""
