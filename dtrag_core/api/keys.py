"""API keys: random, kept only as hashes, each with limits of its own."""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from dtrag_core.errors import DataError, InvalidRequestError, UnknownNameError

MAX_KEYS: Final = 1_024
_PREFIX: Final = "dtrag"
_VERSION: Final = 1
_LOOK_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key: never the key.

    `rate` (requests/s) and `burst` bound its requests, None: no bound; `jobs` the batch jobs it may
    have unfinished. A `read_only` key cannot change the index. `slot` is its place among the
    token buckets; it is not used again when the key is revoked. `jobs` of 0: as the store has it.
    """

    id: str
    name: str
    slot: int
    sha256: str
    rate: float | None = None
    burst: float = 1.0
    jobs: int = 16
    read_only: bool = False


ANYONE: Final = ApiKey("", "", -1, "", jobs=0)


def add_key(
    file: Path,
    name: str,
    *,
    rate: float | None = None,
    burst: float | None = None,
    jobs: int = 16,
    read_only: bool = False,
) -> str:
    """Add a key to the file (made if there is none) and return it: it is shown nowhere again.

    `burst` defaults to one second's worth. Raises InvalidRequestError for a name there is already
    and when the file is full.
    """
    keys = dict(load_keys(file)) if file.exists() else {}
    if not name or not name.isprintable() or len(name) > 100:
        raise InvalidRequestError(f"a key's name is 1 to 100 printable characters, got {name!r}")
    if any(key.name == name for key in keys.values()):
        raise InvalidRequestError(f"{file} has a key {name!r} already; revoke it or choose another")
    slot = 1 + max((key.slot for key in keys.values()), default=-1)
    if slot >= MAX_KEYS:
        raise InvalidRequestError(
            f"{file} has had {slot:,} keys, the most there can be; begin a new one"
        )
    identity, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    if burst is None:
        burst = max(1.0, rate or 1.0)
    keys[identity] = ApiKey(
        identity, name, slot, _hash(secret.encode()), rate, burst, jobs, read_only
    )
    _write(file, keys)
    return f"{_PREFIX}_{identity}_{secret}"


def revoke_key(file: Path, name: str) -> None:
    """Take a key out of the file; running services notice within a second or so."""
    keys = dict(load_keys(file))
    found = [identity for identity, key in keys.items() if key.name == name]
    if not found:
        raise UnknownNameError("key", name, (key.name for key in keys.values()))
    del keys[found[0]]
    _write(file, keys)


def load_keys(file: Path) -> Mapping[str, ApiKey]:
    """Return the keys of a file by id; DataError if it is none."""
    try:
        content = orjson.loads(file.read_bytes())
        if content["version"] != _VERSION:
            raise DataError(f"{file} has version {content['version']}, known is {_VERSION}")
        return {key["id"]: ApiKey(**key) for key in content["keys"]}
    except FileNotFoundError as error:
        raise DataError(f"no such file: {file}; make it with: dtrag keys add NAME") from error
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} is no file of API keys: {error}") from error


class KeyRing:
    """Finds keys, and follows its file; `clock` is monotonic, in seconds."""

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._keys = load_keys(file)
        self._stamp = self._stat()
        self._look_again = clock() + _LOOK_EVERY_S

    def find(self, key: bytes) -> ApiKey | None:
        """Return what is known of a key; None if it is none of ours, after the same work."""
        if self._clock() >= self._look_again:
            self._look()
        _, _, rest = key.partition(b"_")
        identity, _, secret = rest.partition(b"_")
        known = self._keys.get(identity.decode("latin-1"))
        expected = known.sha256 if known is not None else ANYONE.sha256
        return known if hmac.compare_digest(_hash(secret), expected) else None

    def _look(self) -> None:
        """Read the file again if it changed; one that cannot be read leaves the keys there are."""
        self._look_again = self._clock() + _LOOK_EVERY_S
        stamp = self._stat()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._keys = load_keys(self._file)
            except DataError:
                return

    def _stat(self) -> tuple[int, int] | None:
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns


def _hash(secret: bytes) -> str:
    # 256 random bits cannot be guessed however fast the hash is.
    return hashlib.sha256(secret).hexdigest()


def _write(file: Path, keys: Mapping[str, ApiKey]) -> None:
    content: dict[str, Any] = {"version": _VERSION, "keys": [asdict(key) for key in keys.values()]}
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
    fresh.replace(file)
