"""Datasets: streams of chunks with judged queries."""
