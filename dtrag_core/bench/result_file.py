"""Result files as such: JSON that appears whole or not at all, and fits the schema of its kind."""

import json
import math
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtrag_core.errors import ResultError

# jsonschema is imported where a result is checked: it takes seconds, which nobody who starts a
# service or a search is to wait for.
if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError


def header(
    kind: str, schema_version: int, environment: Mapping[str, Any], host: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what every result begins with: kind, version, name and time of the run, environment.

    `host`: what else ran on the machine meanwhile, as JSON.
    """
    created = datetime.now(UTC)
    return {
        "kind": kind,
        "schema_version": schema_version,
        "run_id": f"{kind}-{created:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}",
        "created": f"{created:%Y-%m-%dT%H:%M:%SZ}",
        "environment": {**environment, "host": dict(host)},
    }


def check_free(path: Path) -> None:
    """Raise ResultError if there is a result already: none is ever written over."""
    if path.exists():
        raise ResultError(f"{path} already holds a result; write each run into a folder of its own")


def write_whole(path: Path, text: str) -> None:
    """Write a file, making its folder, so that it is there complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(file: Path, constant: Callable[[str], Any] | None = None) -> Any:  # noqa: ANN401
    """Return what a file holds; `constant` is given NaN and infinity if there are any.

    Raises ResultError if it cannot be read or is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=constant)
    except OSError as error:
        raise ResultError(
            f"{file} cannot be read: {error.strerror}; name a run's folder"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ResultError(f"{file} is not JSON: {error}; measure again") from error


def _items(
    validator: Any,  # noqa: ANN401 (what `extend` makes has no public type)
    items: Any,  # noqa: ANN401 (any schema)
    instance: Any,  # noqa: ANN401 (any JSON value)
    schema: Mapping[str, Any],
) -> Iterator["ValidationError"]:
    """Check whole numbers all at once: a histogram is thousands, and each alone takes 40 us."""
    plain = isinstance(items, dict) and items.keys() <= {"type", "minimum"}
    if plain and items.get("type") == "integer" and "prefixItems" not in schema:
        whole = isinstance(instance, list) and set(map(type, instance)) == {int}
        if whole and min(instance) >= items.get("minimum", -math.inf):
            return
    from jsonschema import Draft202012Validator

    yield from Draft202012Validator.VALIDATORS["items"](validator, items, instance, schema)


def first_error(schema: Mapping[str, Any], value: object) -> "ValidationError | None":
    """Return what best says why a value does not fit a schema; None if it does."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from jsonschema.validators import extend

    validator = extend(Draft202012Validator, {"items": _items})
    found: ValidationError | None = best_match(validator(schema).iter_errors(value))
    return found


@dataclass(frozen=True, slots=True)
class ResultFile:
    """`<kind>.json`, or `name`, in a run's folder, checked both ways against `<kind>.schema.json`.

    The schema lies in `package`; results say their `kind` and `schema_version`.
    """

    kind: str
    version: int
    package: str
    name: str = ""

    @property
    def _file_name(self) -> str:
        return self.name or f"{self.kind}.json"

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of a result."""
        text = files(self.package).joinpath(f"{self.kind}.schema.json").read_text("utf-8")
        schema: dict[str, Any] = json.loads(text)
        return schema

    def write(self, result: Mapping[str, Any], folder: Path) -> Path:
        """Write the file into a folder, whole or not at all, and return its path.

        Raises ResultError if the result does not fit the schema, or the folder holds one already.
        """
        path = folder / self._file_name
        check_free(path)
        try:
            text = json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise ResultError(
                f"{path}: the result holds what JSON has no word for: {error}"
            ) from error
        self._validate(json.loads(text), path)
        write_whole(path, text)
        return path

    def read(self, path: Path) -> dict[str, Any]:
        """Return the result in a file, or in the run folder given instead.

        Raises ResultError if it cannot be read, is of another kind or version, or does not fit.
        """
        file = path / self._file_name if path.is_dir() else path
        result = read_json(file)
        wanted = (self.kind, self.version)
        found = (
            (result.get("kind"), result.get("schema_version")) if isinstance(result, dict) else None
        )
        if found != wanted:
            raise ResultError(
                f"{file} holds kind and version {found}, this dtrag reads {wanted}; "
                f"measure again: dtrag {self.kind}"
            )
        self._validate(result, file)
        return dict(result)

    def _validate(self, result: object, path: Path) -> None:
        error = first_error(self.schema(), result)
        if error is not None:
            raise ResultError(f"{path}: {error.json_path}: {error.message[:200]}")
