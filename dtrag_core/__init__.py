"""DT-RAG Bench: measures hybrid retrieval, legacy against optimised, and says what holds."""

from dtrag_core.targets import PERFORMANCE_TARGETS, Target

__version__ = "0.1.0"

__all__ = ["PERFORMANCE_TARGETS", "Target", "__version__"]
