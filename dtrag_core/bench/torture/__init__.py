"""Killing processes that write an index, and looking at what is left."""
