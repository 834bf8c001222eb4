"""Arrays by their addresses: how one kernel call sees all segments of an index.

Passing an array to a compiled function costs a fifth of a microsecond, and a search over several
segments would pass dozens. A table of addresses is one argument. Whoever makes the table keeps the
arrays alive and C-contiguous.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

CACHE_LINE: Final = 64

Address: TypeAlias = int | np.int64
"""An address, or how many bytes something takes."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _to_pointer(_: Any, address: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ANN401
    """Turn an int64 address into a pointer."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:  # noqa: ANN401
        return builder.inttoptr(values[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


pointer: Any = intrinsic(_to_pointer)
"""Within a kernel: the pointer of an address, for `numba.carray`."""


def _to_prefetch(
    _: Any,  # noqa: ANN401
    array: Any,  # noqa: ANN401
    place: Any,  # noqa: ANN401
) -> tuple[Any, Callable[..., Any]]:
    """Ask for the cache line of a place in a one-dimensional array."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ANN401
        data = context.make_array(array)(context, builder, values[0]).data
        line = builder.bitcast(builder.gep(data, [values[1]]), cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], kind)
        builder.call(prefetch, [line, *(ir.Constant(number, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


prefetch: Any = intrinsic(_to_prefetch)
"""Within a kernel: `prefetch(array, place)` has the memory of a place read while work goes on.

A place outside of the array does no harm.
"""


def uncounted(function: _Function) -> _Function:
    """Compile a kernel that allocates nothing: references to arrays it borrows are not counted.

    Every slice of an array would be counted otherwise, and each count is an atomic instruction.
    It must not return arrays, nor call kernels of its own that do.
    """
    options: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}
    compiled: _Function = numba.njit(**options)(function)
    return compiled
