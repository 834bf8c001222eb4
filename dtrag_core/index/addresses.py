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


def _prefetched(builder: Any, line: Any) -> None:  # noqa: ANN401
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], kind)
    builder.call(prefetch, [line, *(ir.Constant(number, value) for value in (0, 3, 1))])


def _to_prefetch(
    _: Any,  # noqa: ANN401
    array: Any,  # noqa: ANN401
    place: Any,  # noqa: ANN401
) -> tuple[Any, Callable[..., Any]]:
    """Ask for the cache line of a place in a one-dimensional array."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ANN401
        data = context.make_array(array)(context, builder, values[0]).data
        _prefetched(builder, builder.bitcast(builder.gep(data, [values[1]]), cgutils.voidptr_t))
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


prefetch: Any = intrinsic(_to_prefetch)
"""Within a kernel: `prefetch(array, place)` has the memory of a place read while work goes on.

A place outside of the array does no harm.
"""


def _to_load(kind: Any) -> Any:  # noqa: ANN401
    """Return an intrinsic that reads a number at an address, as int64."""

    def typed(_: Any, address: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ANN401
        def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:  # noqa: ANN401
            number = builder.load(builder.inttoptr(values[0], kind.as_pointer()), align=1)
            return builder.zext(number, ir.IntType(64)) if kind.width < 64 else number

        return types.int64(types.int64), generate

    return intrinsic(typed)


uint16_at: Any = _to_load(ir.IntType(16))
"""Within a kernel: the uint16 at an address, as int64."""
uint64_at: Any = _to_load(ir.IntType(64))
"""Within a kernel: the eight bytes at an address, as int64."""


def _to_read(kind: Any) -> Any:  # noqa: ANN401
    """Return an intrinsic that reads one of the numbers of a kind at an address."""

    def typed(_: Any, address: Any, place: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ANN401
        def generate(context: Any, builder: Any, __: Any, values: Any) -> Any:  # noqa: ANN401
            first = builder.inttoptr(values[0], context.get_data_type(kind).as_pointer())
            return builder.load(builder.gep(first, [values[1]]))

        return kind(types.int64, types.int64), generate

    return intrinsic(typed)


uint8_of: Any = _to_read(types.uint8)
"""Within a kernel: `uint8_of(address, place)` is one of the uint8 at an address.

The address is one such a number may have (`uint16_at` takes any). An array made of the address
would do the same, but an `uncounted` kernel can make none.
"""
int32_of: Any = _to_read(types.int32)
"""Likewise of int32."""
float32_of: Any = _to_read(types.float32)
"""Likewise of float32."""


def _to_prefetch_at(_: Any, address: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ANN401
    """Ask for the cache line of an address."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ANN401
        _prefetched(builder, builder.inttoptr(values[0], cgutils.voidptr_t))
        return context.get_dummy_value()

    return types.void(types.int64), generate


prefetch_at: Any = intrinsic(_to_prefetch_at)
"""Within a kernel: `prefetch_at(address)` has memory read as `prefetch` does."""


def uncounted(function: _Function) -> _Function:
    """Compile a kernel that allocates nothing: references to arrays it borrows are not counted.

    Every slice of an array would be counted otherwise, and each count is an atomic instruction.
    It must not return arrays, nor call kernels of its own that do.
    """
    options: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}
    compiled: _Function = numba.njit(**options)(function)
    return compiled
