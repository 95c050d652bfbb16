"""Parts of ``benchmarks/gpu.py``: a file a kind of part, whose ``run`` gives the lines of one; what they share beside."""
