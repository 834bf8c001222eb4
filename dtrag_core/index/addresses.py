"""Arrays by their addresses: how one kernel call sees all segments of an index.

Passing an array to a compiled function costs a fifth of a microsecond, and a search over several
segments would pass dozens. A table of addresses is one argument. Whoever makes the table keeps the
arrays alive and C-contiguous.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

Address: TypeAlias = int | np.int64
"""An address, or how many bytes something takes."""


def _to_pointer(_: Any, address: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ANN401
    """Turn an int64 address into a pointer."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:  # noqa: ANN401
        return builder.inttoptr(values[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


pointer: Any = intrinsic(_to_pointer)
"""Within a kernel: the pointer of an address, for `numba.carray`."""
