"""Text analysis: tokens from text."""
