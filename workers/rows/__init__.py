"""Rows of a task, from their source to padded batches."""
