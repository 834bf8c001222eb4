"""`result.json`: what one run measured, checked against `result.schema.json` on the way out and in.

Written whole or not at all, never over an earlier result.
"""

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.result_file import check_free, first_error, read_json, write_whole
from dtrag_core.errors import MeasuringError, ResultError
from dtrag_core.targets import PERFORMANCE_TARGETS

SCHEMA_VERSION: Final = 2
FILE_NAME: Final = "result.json"


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a result."""
    text = files("dtrag_core.bench").joinpath("result.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def write_result(result: Mapping[str, Any], folder: Path) -> Path:
    """Write `result` as `folder/result.json`, making the folder, and return the file's path.

    Mappings, sequences and numpy scalars become plain JSON. The file appears complete or not at
    all. Raises `ResultError` if the result does not fit the schema or holds NaN or infinity, or if
    the folder already holds a result.
    """
    path = folder / FILE_NAME
    check_free(path)
    plain = _plain(result, "", path)
    _validate(plain, path)
    write_whole(path, json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def read_result(path: Path) -> dict[str, Any]:
    """Return the result in a file, or in the run folder given instead.

    Raises `ResultError` naming file, JSON pointer and value if it cannot be read, is of another
    schema version, or does not fit the schema.
    """
    file = path / FILE_NAME if path.is_dir() else path

    def refuse(constant: str) -> NoReturn:
        raise ResultError(f"{file}: {constant} is not a number JSON knows; measure again")

    result = read_json(file, refuse)
    if isinstance(result, dict) and "kind" in result:
        raise ResultError(
            f"{file} holds a result of kind {result['kind']!r}, not one of dtrag bench or report"
        )
    version = result.get("schema_version") if isinstance(result, dict) else None
    if version != SCHEMA_VERSION:
        raise ResultError(
            f"{file}: /schema_version is {version!r}, this dtrag reads {SCHEMA_VERSION}; "
            "measure again, or read it with the version that wrote it"
        )
    _validate(result, file)
    return dict(result)


def _plain(value: object, pointer: str, path: Path) -> Any:  # noqa: ANN401 (any JSON value)
    """Return `value` as what `json` would give back, refusing what JSON has no word for."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{pointer}/{_escaped(k)}", path) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(v, f"{pointer}/{i}", path) for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ResultError(
            f"{path}: {pointer} is {value}; a figure that cannot be given is null, with a reason"
        )
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ResultError(f"{path}: {pointer} is of type {type(value).__name__}, not a JSON value")


def _validate(result: object, path: Path) -> None:
    error = first_error(result_schema(), result)
    if error is not None:
        pointer = "".join(f"/{_escaped(part)}" for part in error.absolute_path) or "/"
        shown = json.dumps(error.instance)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        problem = error.message if len(error.message) <= 200 else f"breaks {error.validator!r}"
        raise ResultError(f"{path}: {pointer} is {shown}: {problem}")
    _check_parts(result, "", path)


def _check_parts(part: object, pointer: str, path: Path) -> None:
    """Check what a schema cannot say: histograms that add up, targets that are those promised."""
    if isinstance(part, Mapping):
        if part.get("unit") == "ns" and "bucket" in part:
            try:
                Histogram.from_json(part)
            except (MeasuringError, ValueError) as error:
                raise ResultError(f"{path}: {pointer} is no histogram: {error}") from error
        promised = PERFORMANCE_TARGETS.get(str(part.get("metric", "")))
        if promised is not None and part.get("target") != promised.bound:
            raise ResultError(
                f"{path}: {pointer}/target is {part.get('target')}, promised is {promised.bound}"
            )
    if isinstance(part, Mapping | list):
        items = part.items() if isinstance(part, Mapping) else enumerate(part)
        for name, inner in items:
            _check_parts(inner, f"{pointer}/{_escaped(name)}", path)


def _escaped(part: object) -> str:
    """Return one reference token of a JSON pointer (RFC 6901)."""
    return str(part).replace("~", "~0").replace("/", "~1")
