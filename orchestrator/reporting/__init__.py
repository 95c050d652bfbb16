"""The HTML report: one self-contained page, and each of its figures and tables beside it."""
