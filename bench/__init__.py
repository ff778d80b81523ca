"""Measurements beside other registries. docs/performance.md says what, how, and how to read them."""
