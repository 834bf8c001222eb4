"""Reports from results."""
