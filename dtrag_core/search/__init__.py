"""Hybrid search, legacy and optimised side by side."""
