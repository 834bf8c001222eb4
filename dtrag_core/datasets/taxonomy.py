"""The tree of taxonomy paths with counts, and which paths lie under which."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import accumulate

from dtrag_core.errors import UnknownFilterError

Path = tuple[str, ...]


class Taxonomy:
    """A tree made from the paths of a corpus (path -> number of chunks at just that path).

    Every distinct path has a code: its rank among them in sorted order, 0-based. A subtree is then
    a range of codes, so that a filter over chunks is two comparisons with their codes.
    """

    def __init__(self, counts: Mapping[Path, int]) -> None:
        self.paths: tuple[Path, ...] = tuple(sorted(counts))
        self._codes = {path: code for code, path in enumerate(self.paths)}
        self._until = (0, *accumulate(counts[path] for path in self.paths))

    @classmethod
    def from_paths(cls, paths: Iterable[Path]) -> "Taxonomy":
        """Count the paths of a corpus, one a chunk; the empty path is the root."""
        return cls(Counter(paths))

    def code(self, path: Path) -> int:
        """Return the code of a path that chunks have; `UnknownFilterError` for any other."""
        if path not in self._codes:
            raise self._unknown(path)
        return self._codes[path]

    def subtree(self, path: Path) -> range:
        """Return the codes of `path` and all below it; `UnknownFilterError` if there are none."""
        codes = self._range(path)
        if path and not codes:
            raise self._unknown(path)
        return codes

    def count(self, path: Path = ()) -> int:
        """Return the number of chunks in the subtree of `path`."""
        codes = self.subtree(path)
        return self._until[codes.stop] - self._until[codes.start]

    def own_count(self, path: Path) -> int:
        """Return the number of chunks at `path` itself; 0 for a mere inner node."""
        self.subtree(path)
        code = self._codes.get(path)
        return 0 if code is None else self._until[code + 1] - self._until[code]

    def children(self, path: Path = ()) -> tuple[Path, ...]:
        """Return the paths one step below `path`, sorted; none for a leaf."""
        deeper = len(path) + 1
        below = (self.paths[code] for code in self.subtree(path))
        return tuple(dict.fromkeys(p[:deeper] for p in below if len(p) >= deeper))

    def render(self, depth: int = 2, path: Path = ()) -> str:
        """Return the subtree of `path` as lines `name (count)`, indented, `depth` levels deep."""
        lines: list[str] = []
        for child in self.children(path) if depth > 0 else ():
            lines.append(f"{'  ' * len(path)}{child[-1]} ({self.count(child):,})")
            lines += self.render(depth - 1, child).splitlines()
        return "\n".join(lines)

    def _range(self, path: Path) -> range:
        if not path:
            return range(len(self.paths))
        # No string lies between s and s + "\0", so this is the first path behind the subtree.
        behind = (*path[:-1], path[-1] + "\0")
        return range(bisect_left(self.paths, path), bisect_left(self.paths, behind))

    def _unknown(self, path: Path) -> UnknownFilterError:
        known = path
        while known and not self._range(known):
            known = known[:-1]
        near = {child[-1]: "/".join(child) for child in self.children(known)}
        wrong = path[len(known)] if len(path) > len(known) else ""
        named = [near[name] for name in get_close_matches(wrong, near, n=5)] or list(near.values())
        place = f"under {'/'.join(known)!r}" if known else "at the root"
        return UnknownFilterError(
            f"no chunk has the taxonomy path {'/'.join(path)!r}; nearest {place}: "
            f"{', '.join(named[:5]) or 'nothing'}"
        )
