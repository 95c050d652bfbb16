"""Tunable modules as tensors on a frozen backbone, and their files."""
