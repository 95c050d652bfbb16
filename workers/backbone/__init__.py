"""Frozen backbones: found, read, checked, kept as they were; tokenizers and heads that belong to them."""
