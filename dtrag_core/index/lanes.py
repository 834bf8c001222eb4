"""Eight numbers at once, for numba kernels: what the compiler does not make of a loop over eight.

It writes such a loop out as scalar instructions, five times as slow (see `dot` for the like).
Places must be within the arrays, which are one-dimensional and contiguous, and addresses within
what whoever calls keeps alive.
"""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LANES: Final = 8
_BYTES, _INT32, _FLOATS = (
    ir.VectorType(each, LANES) for each in (ir.IntType(8), ir.IntType(32), ir.FloatType())
)
_MASK: Final = ir.IntType(LANES)


def _at(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:  # noqa: ANN401
    """Return the pointer to eight floats of an array from a place on."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), _FLOATS.as_pointer())


def _eight(builder: Any, number: Any) -> Any:  # noqa: ANN401
    """Return eight times the same float."""
    one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), number, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(_INT32, [0] * LANES))


def _to_add(
    _: Any,  # noqa: ANN401
    sums: Any,  # noqa: ANN401
    place: Any,  # noqa: ANN401
    weight: Any,  # noqa: ANN401
    address: Any,  # noqa: ANN401
) -> tuple[Any, Callable[..., Any]]:
    """Add eight weighted bytes to eight sums."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:  # noqa: ANN401
        array, to, factor, start = given
        kind = signature.args[0]
        numbers = builder.load(builder.inttoptr(start, _BYTES.as_pointer()), align=1)
        wide = builder.uitofp(builder.zext(numbers, _INT32), _FLOATS)
        target = _at(context, builder, kind, array, to)
        result = builder.fadd(
            builder.load(target, align=4), builder.fmul(_eight(builder, factor), wide)
        )
        builder.store(result, target, align=4)
        return context.get_dummy_value()

    number = types.int64
    return types.void(sums, number, types.float32, number), generate


def _to_compare(_: Any, sums: Any, place: Any, cutoff: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ANN401
    """Tell which of eight sums, above 0, reach a cutoff."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:  # noqa: ANN401
        array, start, least = given
        numbers = builder.load(_at(context, builder, signature.args[0], array, start), align=4)
        reaching = builder.and_(
            builder.fcmp_ordered(">=", numbers, _eight(builder, least)),
            builder.fcmp_ordered(">", numbers, ir.Constant(_FLOATS, None)),
        )
        return builder.zext(builder.bitcast(reaching, _MASK), ir.IntType(64))

    return types.int64(sums, types.int64, types.float32), generate


def _to_reduce(_: Any, sums: Any, place: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ANN401
    """Find the largest of eight sums."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:  # noqa: ANN401
        numbers = builder.load(_at(context, builder, signature.args[0], *given), align=4)
        for halved in (4, 2, 1):
            places = ir.VectorType(ir.IntType(32), halved)
            low, high = (
                builder.shuffle_vector(
                    numbers, numbers, ir.Constant(places, list(range(first, first + halved)))
                )
                for first in (0, halved)
            )
            numbers = builder.select(builder.fcmp_ordered(">", low, high), low, high)
        return builder.extract_element(numbers, ir.IntType(32)(0))

    return types.float32(sums, types.int64), generate


def _to_find(_: Any, bits: Any) -> tuple[Any, Callable[..., Any]]:  # noqa: ANN401
    """Count the zeros below the lowest bit."""

    def generate(_: Any, builder: Any, __: Any, given: Any) -> Any:  # noqa: ANN401
        return builder.cttz(given[0], ir.IntType(1)(1))

    return types.int64(types.int64), generate


add_eight: Any = intrinsic(_to_add)
"""Within a kernel: `add_eight(sums, place, weight, address)` adds weight times the eight uint8 at
an address to the eight of float32 `sums` from `place` on."""

reaching_eight: Any = intrinsic(_to_compare)
"""Within a kernel: `reaching_eight(sums, place, cutoff)` is an int64 whose bits tell which of the
eight of float32 `sums` from `place` on reach the cutoff and are above 0."""

largest_of_eight: Any = intrinsic(_to_reduce)
"""Within a kernel: `largest_of_eight(sums, place)` is the largest of the eight of float32 `sums`
from `place` on."""

first_of: Any = intrinsic(_to_find)
"""Within a kernel: `first_of(bits)` is the number of the lowest bit set; of none it is undefined.
Going from bit to bit (`bits &= bits - 1`) ends in one wrong guess of the processor, asking each
of eight in several."""
