"""Built indexes of peers, kept for the next run: complete ones only."""

import hashlib
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dtrag_core.bench.peers.base import Peer, PeerCorpus
from dtrag_core.errors import BuildError, DtragError
from dtrag_core.types import Progress

_RECORD: Final = "built.json"
_INDEX: Final = "index"


@dataclass(frozen=True, slots=True)
class Built:
    """An index on disk, its size, how long building took, and whether an earlier run built it."""

    directory: Path
    nbytes: int
    seconds: float
    reused: bool


def built(peer: Peer, corpus: PeerCorpus, progress: Progress) -> Built:
    """Return the peer's index of the corpus, built first unless it is kept.

    It lies beside the corpus, under the name of the peer's index and a digest of its versions.
    Raises BuildError, naming the peer, if it cannot be built.
    """
    key = repr((peer.index, sorted(peer.versions().items()), corpus.fingerprint))
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    home = corpus.directory.parent / f"{peer.index}-{digest}"
    reused = (home / _RECORD).is_file()
    if not reused:
        _build(peer, corpus, home, progress)
    record = json.loads((home / _RECORD).read_text(encoding="utf-8"))
    return Built(home / _INDEX, record["bytes"], record["seconds"], reused)


def _build(peer: Peer, corpus: PeerCorpus, home: Path, progress: Progress) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f".{peer.index}-", dir=home.parent))
    try:
        (fresh / _INDEX).mkdir()
        progress(f"building {peer.name}", 0, None)
        start = time.perf_counter()
        peer.build(corpus, fresh / _INDEX, progress)
        record = {"seconds": time.perf_counter() - start, "bytes": _bytes(fresh / _INDEX)}
        (fresh / _RECORD).write_text(json.dumps(record), encoding="utf-8")
        shutil.rmtree(home, ignore_errors=True)
        fresh.rename(home)
    except DtragError:
        raise
    except Exception as error:
        raise BuildError(
            f"{peer.name} could not build its index ({type(error).__name__}: {error}); nothing "
            "half-built is kept: leave the engine out, or mend what it says"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
