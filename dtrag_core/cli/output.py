"""What goes to standard output, and notes beside it on standard error."""

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, Final

_GAP: Final = "  "
_LEAST_WRAPPED: Final = 30


def say(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """Write a line to standard error, where it does not disturb `--json`."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say_json(value: Any) -> None:  # noqa: ANN401 (any JSON value)
    """Write a value as JSON to standard output."""
    say(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def printable(text: str) -> str:
    """Return corpus text on one line, without characters that would steer a terminal."""
    kept = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(kept.split())


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> str:
    """Return aligned columns; the last one is wrapped to the terminal's width.

    `right` names the columns that are aligned right, one letter each: "r" for those, else "l".
    """
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    used = sum(widths[:-1]) + len(_GAP) * (len(header) - 1)
    room = max(shutil.get_terminal_size((100, 24)).columns - used, _LEAST_WRAPPED)
    aligned = []
    for line in lines:
        cells = [
            cell.rjust(width) if how == "r" else cell.ljust(width)
            for cell, width, how in zip(line, widths, right.ljust(len(widths), "l"), strict=True)
        ]
        first, *rest = textwrap.wrap(cells[-1], room, drop_whitespace=True) or [""]
        aligned.append(_GAP.join((*cells[:-1], first)).rstrip())
        aligned += [" " * used + more for more in rest]
    return "\n".join(aligned)
