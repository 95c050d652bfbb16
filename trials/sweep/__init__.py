"""From a sweep file to its trials: YAML, schema, rules, blocks, axes, enumeration."""
