"""The ways to the same trials that ``benchmarks/sweep.py`` compares, each in processes of its own."""
