"""Text analysis: tokens from text."""

from dtrag_core.text.analyzer import Analyzer

__all__ = ["Analyzer"]
