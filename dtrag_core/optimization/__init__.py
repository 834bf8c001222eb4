"""Concurrency and memory tools that know nothing of search."""
