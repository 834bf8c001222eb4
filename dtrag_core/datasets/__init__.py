"""Datasets: streams of chunks with judged queries."""

from dtrag_core.datasets.base import Dataset, DatasetInfo
from dtrag_core.datasets.registry import DatasetDescription, describe_datasets, open_dataset
from dtrag_core.datasets.taxonomy import Taxonomy

__all__ = [
    "Dataset",
    "DatasetDescription",
    "DatasetInfo",
    "Taxonomy",
    "describe_datasets",
    "open_dataset",
]
