"""Opens datasets by their spec: `name` or `name:argument`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dtrag_core.datasets import beir, jsonl, pydocs, synthetic
from dtrag_core.datasets.base import Dataset
from dtrag_core.errors import InvalidRequestError, UnknownNameError


@dataclass(frozen=True, slots=True)
class DatasetDescription:
    """What can be opened: `form` is the spec to write, `caveat` what its figures are good for."""

    name: str
    form: str
    caveat: str


def open_dataset(spec: str) -> Dataset:
    """Open `pydocs`, `beir:DIR`, `jsonl:FILE` or `synthetic:N`.

    Raises `UnknownNameError` for another name, `InvalidRequestError` for a missing or impossible
    argument, `DataError` for what is wrong in the files.
    """
    name, _, argument = spec.partition(":")
    if name not in _KINDS:
        raise UnknownNameError("dataset", name, (kind.form for kind, _ in _KINDS.values()))
    description, load = _KINDS[name]
    if (":" in description.form) != bool(argument):
        raise InvalidRequestError(f"dataset {spec!r}: write it as {description.form}")
    return load(argument)


def describe_datasets() -> tuple[DatasetDescription, ...]:
    """Return every kind of dataset there is."""
    return tuple(description for description, _ in _KINDS.values())


def _synthetic(size: str) -> Dataset:
    if not size.isdecimal():
        raise InvalidRequestError(f"dataset 'synthetic:{size}': {size!r} is no whole number")
    return synthetic.SyntheticDataset(int(size))


_KINDS: Final[Mapping[str, tuple[DatasetDescription, Callable[[str], Dataset]]]] = MappingProxyType(
    {
        description.name: (description, load)
        for description, load in (
            (
                DatasetDescription("pydocs", "pydocs", pydocs.CAVEAT),
                lambda _: pydocs.PydocsDataset(),
            ),
            (
                DatasetDescription("beir", "beir:DIR", beir.CAVEAT),
                lambda folder: beir.BeirDataset(Path(folder)),
            ),
            (
                DatasetDescription("jsonl", "jsonl:FILE", jsonl.CAVEAT),
                lambda file: jsonl.JsonlDataset(Path(file)),
            ),
            (DatasetDescription("synthetic", "synthetic:N", synthetic.CAVEAT), _synthetic),
        )
    }
)
