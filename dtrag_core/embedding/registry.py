"""Embedders by name: `static`, `lsa`, `minilm`, `onnx:DIR`, `precomputed:FILE.npz`, `synthetic`.

The modules behind the names are imported when one is asked for, so that scikit-learn and
onnxruntime cost nothing unless used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dtrag_core.embedding.base import CorpusTexts, Embedder, State
from dtrag_core.embedding.cache import cached
from dtrag_core.embedding.vectors import FINGERPRINT, unpack_words
from dtrag_core.errors import EmbeddingError, InvalidRequestError, UnknownNameError


@dataclass(frozen=True, slots=True)
class EmbedderInfo:
    """What an embedder is.

    `form` of its spec; what it is good for; the `extra` it needs, if any; `costly` if embedding a
    document takes far longer than reading its vector from disk; `any_text` unless it knows the
    dataset's own texts only.
    """

    name: str
    form: str
    good_for: str
    extra: str = ""
    costly: bool = False
    any_text: bool = True


@dataclass(frozen=True, slots=True)
class _Entry:
    info: EmbedderInfo
    fit: Callable[[str, CorpusTexts], Embedder]
    restore: Callable[[str, State], Embedder]


def fit_embedder(spec: str, texts: CorpusTexts) -> Embedder:
    """Return the embedder a spec names, fitted on the texts if it is one that fits.

    Raises UnknownNameError, InvalidRequestError if the argument after the colon is missing, not
    wanted or names no file, MissingExtraError, EmbeddingError or DataError if the data do not fit.
    """
    entry, argument = _parse(spec)
    return entry.fit(argument, texts)


def fit_cached_embedder(spec: str, texts: CorpusTexts, folder: Path) -> Embedder:
    """Return what `fit_embedder` does; a costly one keeps its document vectors in `folder`."""
    embedder = fit_embedder(spec, texts)
    return cached(embedder, folder) if embedder_info(spec).costly else embedder


def restore_cached_embedder(spec: str, state: State, folder: Path) -> Embedder:
    """Return what `restore_embedder` does; a costly one keeps its document vectors in `folder`."""
    embedder = restore_embedder(spec, state)
    return cached(embedder, folder) if embedder_info(spec).costly else embedder


def restore_embedder(spec: str, state: State) -> Embedder:
    """Return the embedder whose `state()` this is.

    Raises EmbeddingError if it would give other vectors than when the state was made (altered
    arrays, another model file or package version), and what `fit_embedder` raises.
    """
    entry, argument = _parse(spec)
    try:
        embedder = entry.restore(argument, state)
        wanted = unpack_words(state[FINGERPRINT])[0]
    except KeyError as error:
        raise EmbeddingError(
            f"the state of embedder {spec!r} has no array {error}; it holds {sorted(state)}"
        ) from error
    if embedder.fingerprint != wanted:
        raise EmbeddingError(
            f"embedder {spec!r} now has fingerprint {embedder.fingerprint}, its state was made "
            f"with {wanted}: the model or its package has changed; build the index again"
        )
    return embedder


def describe_embedders() -> tuple[EmbedderInfo, ...]:
    """Return what each registered embedder is, the default first."""
    return tuple(entry.info for entry in _registry().values())


def embedder_info(spec: str) -> EmbedderInfo:
    """Return what the embedder of a spec is. Raises as `fit_embedder` does for a wrong spec."""
    return _parse(spec)[0].info


def _parse(spec: str) -> tuple[_Entry, str]:
    name, _, argument = spec.partition(":")
    registry = _registry()
    if name not in registry:
        raise UnknownNameError("embedder", name, [each.info.form for each in registry.values()])
    entry = registry[name]
    if bool(argument) != (":" in entry.info.form):
        raise InvalidRequestError(f"embedder {spec!r}: expected the form {entry.info.form!r}")
    return entry, argument


def _fit_static(_: str, texts: CorpusTexts) -> Embedder:
    from dtrag_core.embedding.static_fit import fit_static

    return fit_static(texts)


def _restore_static(_: str, state: State) -> Embedder:
    from dtrag_core.embedding.static import restore_static

    return restore_static(state)


def _fit_lsa(_: str, texts: CorpusTexts) -> Embedder:
    from dtrag_core.embedding.lsa import fit_lsa

    return fit_lsa(texts)


def _restore_lsa(_: str, state: State) -> Embedder:
    from dtrag_core.embedding.lsa import restore_lsa

    return restore_lsa(state)


def _load_minilm(_: str, __: CorpusTexts | State) -> Embedder:
    from dtrag_core.embedding.onnx import load_minilm

    return load_minilm()


def _load_onnx(directory: str, _: CorpusTexts | State) -> Embedder:
    from dtrag_core.embedding.onnx import load_onnx

    return load_onnx(directory)


def _fit_precomputed(file: str, texts: CorpusTexts) -> Embedder:
    from dtrag_core.embedding.precomputed import fit_precomputed

    return fit_precomputed(file, texts)


def _restore_precomputed(file: str, state: State) -> Embedder:
    from dtrag_core.embedding.precomputed import restore_precomputed

    return restore_precomputed(file, state)


def _fit_synthetic(_: str, texts: CorpusTexts) -> Embedder:
    from dtrag_core.embedding.synthetic import fit_synthetic

    return fit_synthetic(texts)


def _restore_synthetic(_: str, state: State) -> Embedder:
    from dtrag_core.embedding.synthetic import restore_synthetic

    return restore_synthetic(state)


def _registry() -> Mapping[str, _Entry]:
    entries = (
        _Entry(
            EmbedderInfo(
                "static", "static", "default: packaged word vectors fitted on the corpus, 256 d"
            ),
            _fit_static,
            _restore_static,
        ),
        _Entry(
            EmbedderInfo("lsa", "lsa", "TF-IDF and SVD fitted on the corpus: any language, 256 d"),
            _fit_lsa,
            _restore_lsa,
        ),
        _Entry(
            EmbedderInfo(
                "minilm", "minilm", "all-MiniLM-L6-v2, a small transformer, 384 d", "minilm", True
            ),
            _load_minilm,
            _load_minilm,
        ),
        _Entry(
            EmbedderInfo(
                "onnx", "onnx:DIR", "your own sentence transformer, exported", "minilm", True
            ),
            _load_onnx,
            _load_onnx,
        ),
        _Entry(
            EmbedderInfo(
                "precomputed",
                "precomputed:FILE.npz",
                "vectors made elsewhere, for the dataset's own queries",
                any_text=False,
            ),
            _fit_precomputed,
            _restore_precomputed,
        ),
        _Entry(
            EmbedderInfo(
                "synthetic", "synthetic", "generated text of any size: speed, not quality"
            ),
            _fit_synthetic,
            _restore_synthetic,
        ),
    )
    return {entry.info.name: entry for entry in entries}
