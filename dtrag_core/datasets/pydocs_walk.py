"""Walks installed packages and writes their docstrings: `python -m ... PACKAGE... > out.jsonl`.

Runs in a process of its own, because importing whole packages has side effects: it prints, warns,
and would open a display if the environment did not forbid it.
"""

import importlib
import inspect
import json
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType

# Not part of a public interface, build tools, or importable only with packages nobody may have.
_SKIPPED = frozenset(
    (
        *("tests", "conftest", "core", "externals", "backends"),
        *("distutils", "f2py", "sphinxext", "pylab", "cython_special"),
    )
)
_LEAST_WORDS = 8
_UNSTABLE_LINE = re.compile(r".*# may vary.*\n?")


def documented(package: str) -> Iterator[dict[str, str]]:
    """Yield name, module, kind and text of every docstring under `package`, shallow names first."""
    for module in _modules(package):
        yield from _entry(module.__name__, module.__name__, "module", module)
        for name, value in _members(module):
            if isinstance(value, ModuleType) or not _belongs(value, package):
                continue
            dotted = f"{module.__name__}.{name}"
            if not isinstance(value, type):
                kind = "function" if callable(value) else "object"
                yield from _entry(dotted, module.__name__, kind, value)
                continue
            yield from _entry(dotted, module.__name__, "class", value)
            for member, raw in _members(value):
                inner = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
                if not isinstance(inner, type):
                    kind = "method" if inspect.isroutine(inner) else "property"
                    yield from _entry(f"{dotted}.{member}", module.__name__, kind, inner)


def _modules(package: str) -> list[ModuleType]:
    todo = [package]
    found: list[ModuleType] = []
    while todo:
        try:
            module = importlib.import_module(todo.pop())
        except ImportError:
            if not found:
                raise
            continue  # a submodule that wants an optional package which is not installed
        found.append(module)
        for below in pkgutil.iter_modules(getattr(module, "__path__", ())):
            if not below.name.startswith("_") and below.name not in _SKIPPED:
                todo.append(f"{module.__name__}.{below.name}")
    return sorted(found, key=lambda module: (module.__name__.count("."), module.__name__))


def _members(owner: ModuleType | type) -> Iterator[tuple[str, object]]:
    """Public attributes in alphabetical order; those of a class are not bound."""
    for name in sorted(dir(owner)):
        if not name.startswith("_"):
            try:
                yield name, inspect.getattr_static(owner, name)
            except AttributeError:  # listed by a lazy module or a metaclass, but not there
                continue


def _belongs(value: object, package: str) -> bool:
    module = getattr(value, "__module__", None)
    return not isinstance(module, str) or module.partition(".")[0] == package


def _entry(name: str, module: str, kind: str, value: object) -> Iterator[dict[str, str]]:
    text = getattr(value, "__doc__", None)
    if isinstance(text, str) and text != type(value).__doc__:
        text = _UNSTABLE_LINE.sub("", inspect.cleandoc(text)).strip()
        if len(text.split()) >= _LEAST_WORDS:
            yield {"name": name, "module": module, "kind": kind, "text": text}


def main(packages: list[str]) -> None:
    """Write one JSON object a line to standard output; exact duplicates only once."""
    out, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    seen: set[str] = set()
    for package in packages:
        for entry in documented(package):
            if entry["text"] not in seen:
                seen.add(entry["text"])
                out.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
