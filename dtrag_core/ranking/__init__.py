"""Fusion and reranking: pure functions on arrays."""
