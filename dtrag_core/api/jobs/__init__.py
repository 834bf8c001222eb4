"""Batch jobs: what was accepted is answered, each query exactly once."""
