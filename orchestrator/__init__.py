"""Decides which trial runs where and when, and reads the results."""
