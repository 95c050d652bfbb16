"""From rows to statistics."""
