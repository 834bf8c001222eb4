"""Embedders: unit vectors from text."""
