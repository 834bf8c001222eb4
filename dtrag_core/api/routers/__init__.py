"""The routes, one file a concern: each parses, calls the service and renders."""
