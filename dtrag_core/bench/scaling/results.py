"""`scaling.json`: what one scaling run measured, checked against its schema both ways."""

import json
import os
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from dtrag_core.errors import ResultError

KIND: Final = "scaling"
SCHEMA_VERSION: Final = 1
FILE_NAME: Final = "scaling.json"


def scaling_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a scaling run."""
    text = files("dtrag_core.bench.scaling").joinpath("scaling.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def write_scaling_result(result: Mapping[str, Any], folder: Path) -> Path:
    """Write `folder/scaling.json`, whole or not at all, and return its path.

    Raises ResultError if the result does not fit the schema, or the folder holds one already.
    """
    path = folder / FILE_NAME
    if path.exists():
        raise ResultError(f"{path} already holds a result; write each run into a folder of its own")
    try:
        text = json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ResultError(f"{path}: the result holds what JSON has no word for: {error}") from error
    _validate(json.loads(text), path)
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".scaling-", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def read_scaling_result(path: Path) -> dict[str, Any]:
    """Return the run in a file, or in the folder given instead.

    Raises ResultError if it cannot be read, is of another kind or version, or does not fit.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(
            f"{file} cannot be read: {error.strerror}; name a run's folder"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ResultError(f"{file} is not JSON: {error}; measure again") from error
    found = (result.get("kind"), result.get("schema_version")) if isinstance(result, dict) else None
    if found != (KIND, SCHEMA_VERSION):
        raise ResultError(
            f"{file} holds kind and version {found}, this dtrag reads {(KIND, SCHEMA_VERSION)}; "
            "measure again: dtrag scaling"
        )
    _validate(result, file)
    return dict(result)


def _validate(result: object, path: Path) -> None:
    error = best_match(Draft202012Validator(scaling_schema()).iter_errors(result))
    if error is not None:
        raise ResultError(f"{path}: {error.json_path}: {error.message[:200]}")
