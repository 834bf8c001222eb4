"""The embedded engine's parts and its directory on disk."""
