"""Sentence transformers exported to ONNX: `onnx:DIR`, and `minilm`, the packaged one.

DIR holds a model file (one of `MODEL_FILES`, unless `dtrag.json` names another) and
`tokenizer.json`. Token vectors are averaged over the attention mask and scaled to length 1 (Reimers
and Gurevych 2019, "Sentence-BERT"). An optional `dtrag.json` beside them may hold any of
`OnnxSettings`; without `max_tokens` there, `max_seq_length` of `sentence_bert_config.json` counts,
else 256.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from dtrag_core.embedding.base import State
from dtrag_core.embedding.onnx_files import OnnxFiles, find_in, packaged_minilm
from dtrag_core.embedding.vectors import batches, sealed, unit_rows
from dtrag_core.errors import DataError, MissingExtraError
from dtrag_core.types import FloatArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_BATCH = 16
_BLOCK = 1024


class OnnxEmbedder:
    """Runs a transformer with onnxruntime on the CPU. Safe to call from several threads."""

    def __init__(self, files: OnnxFiles) -> None:
        self.spec = files.spec
        self._settings = files.settings
        self._session = _load_session(files)
        self._tokenizer = _load_tokenizer(files)
        self._inputs = {given.name for given in self._session.get_inputs()}
        shapes = {given.name: given.shape for given in self._session.get_outputs()}
        tokenwise = [name for name, shape in shapes.items() if len(shape) == 3]
        if not tokenwise:
            raise DataError(f"{files.model}: no output [batch, tokens, d] to average in {shapes}")
        self._output = tokenwise[0]
        self.dimension = int(self._run([[0]]).shape[1])
        self.fingerprint = files.fingerprint()

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), d]. Texts of like length share a batch of 16."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start, block in batches(texts, _BLOCK):
            vectors[start : start + len(block)] = self._embed(block, self._settings.document_prefix)
        return vectors

    def embed_query(self, text: str) -> FloatArray:
        """Return float32[d]."""
        return np.asarray(self.embed_queries([text])[0])

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), d]."""
        return self._embed(texts, self._settings.query_prefix)

    def state(self) -> State:
        """Return `fingerprint`: the model's files are read again when restored."""
        return sealed({}, self.fingerprint)

    def _embed(self, texts: Sequence[str], prefix: str) -> FloatArray:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        tokens = [self._tokens(prefix, text) for text in texts]
        filled = [row for row, ids in enumerate(tokens) if ids]
        for _, rows in batches(sorted(filled, key=lambda row: len(tokens[row])), _BATCH):
            vectors[rows] = self._run([tokens[row] for row in rows])
        return unit_rows(vectors, self.spec)

    def _tokens(self, prefix: str, text: str) -> list[int]:
        """Return the token ids; none if the text holds no token of its own."""
        # The tokenizer refuses lone surrogates.
        clean = text.encode("utf-8", "replace").decode()
        if not clean.strip():
            return []
        encoding = self._tokenizer.encode(prefix + clean)
        return [] if all(encoding.special_tokens_mask) else list(encoding.ids)

    def _run(self, tokens: Sequence[Sequence[int]]) -> FloatArray:
        """Return float32[len(tokens), d], the mean of the token vectors of each text."""
        lengths = np.array([len(ids) for ids in tokens])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.zeros(mask.shape, dtype=np.int64)
        ids[mask] = np.concatenate(tokens)
        feeds = {
            "input_ids": ids,
            "attention_mask": mask.astype(np.int64),
            "token_type_ids": np.zeros_like(ids),
        }
        hidden = self._session.run(
            [self._output], {name: feed for name, feed in feeds.items() if name in self._inputs}
        )[0]
        total = np.einsum("btd,bt->bd", hidden, mask.astype(np.float32))
        return np.asarray(total / lengths[:, None], dtype=np.float32)


def load_onnx(directory: str) -> OnnxEmbedder:
    """Open the model in a directory.

    Raises InvalidRequestError if a file is missing, DataError if one cannot be read,
    MissingExtraError without onnxruntime.
    """
    return OnnxEmbedder(find_in(directory))


def load_minilm() -> OnnxEmbedder:
    """Open the packaged all-MiniLM-L6-v2; MissingExtraError without the extra `minilm`."""
    return OnnxEmbedder(packaged_minilm())


def _load_tokenizer(files: OnnxFiles) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(files.tokenizer))
    except Exception as error:  # The bindings raise nothing narrower.
        raise DataError(f"{files.tokenizer}: not a tokenizer ({error})") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(files.settings.max_tokens)
    return tokenizer


def _load_session(files: OnnxFiles) -> "InferenceSession":
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(f"the embedder {files.spec!r}", "onnxruntime", "minilm") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = files.settings.threads
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            files.model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own errors share no public base.
        raise DataError(f"{files.model}: onnxruntime cannot load it ({error})") from error
