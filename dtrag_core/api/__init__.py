"""The HTTP service: search, batch jobs, changes of the index, health and metrics."""
