"""Inner products of one coded row with several queries in one pass, for numba kernels.

A loop over one row and several queries, written in Python, is not turned into multiply-add
instructions by the compiler; written out in its intermediate language it is. The row is widened, or
its halves are unpacked, once for all queries, which is most of the work of a product.

`dot` multiplies int8 with int16. Each step takes 16 places: widen, multiply, add neighbours
(together `vpmaddwd` on x86), add to the sums. `half_dot` multiplies four bits with int8, 64 places
a step. There the compiler has to be told of x86's instruction, `vpmaddubsw`; processors without it
do the same by widening.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir
from numba import config
from numba.core import cgutils, types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

_INT8, _INT16, _INT32 = (ir.IntType(bits) for bits in (8, 16, 32))
_LANES: Final = 8
_SUMS: Final = ir.VectorType(_INT32, _LANES)

# Given a builder, the row, the queries, a place, the bytes of a row and how many places to take:
# what that adds to the sum of each query, a number for one place and else int32[_LANES].
_Step = Callable[[Any, Any, Sequence[Any], Any, Any, int], list[Any]]


def has_multiply_add() -> bool:
    """Return whether kernels are compiled for a processor with `vpmaddubsw` on 32 bytes."""
    chosen: str | None = vars(config)["CPU_FEATURES"]
    features: str = get_host_cpu_features() if chosen is None else chosen
    return "+avx2" in features.split(",")


def _product(step: _Step, width: int) -> Any:  # noqa: ANN401
    """Return what a kernel calls: a loop over steps of `width`, and one over what remains."""

    def typed(
        _context: Any,  # noqa: ANN401
        _row: Any,  # noqa: ANN401
        _queries: Any,  # noqa: ANN401
        which: Any,  # noqa: ANN401
        _size: Any,  # noqa: ANN401
    ) -> tuple[Any, Callable[..., Any]]:
        number, count = types.int64, which.count
        given = number, number, types.UniTuple(number, count), number
        return types.UniTuple(types.int32, count)(*given), generate

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ANN401
        address, first, which, size = values
        row = builder.inttoptr(address, cgutils.voidptr_t)
        queries = []
        for number in cgutils.unpack_tuple(builder, which):
            offset = builder.mul(number, builder.shl(size, size.type(1)))
            queries.append(builder.inttoptr(builder.add(first, offset), cgutils.voidptr_t))
        whole = builder.and_(size, size.type(-width))

        def sums(start: Any, stop: Any, places: int) -> list[Any]:  # noqa: ANN401
            nothing = ir.Constant(_INT32 if places == 1 else _SUMS, None)
            totals = [cgutils.alloca_once_value(builder, nothing) for _ in queries]
            by = size.type(places)
            with cgutils.for_range_slice(builder, start, stop, by) as (place, _):
                added = step(builder, row, queries, place, size, places)
                for total, more in zip(totals, added, strict=True):
                    builder.store(builder.add(builder.load(total), more), total)
            return [builder.load(total) for total in totals]

        steps, rest = sums(size.type(0), whole, width), sums(whole, size, 1)
        products = [
            builder.add(_call(builder, "vector.reduce.add.v8i32", _INT32, vector), scalar)
            for vector, scalar in zip(steps, rest, strict=True)
        ]
        return context.make_tuple(builder, signature.return_type, products)

    return intrinsic(typed)


def _whole_codes(
    builder: Any,  # noqa: ANN401
    row: Any,  # noqa: ANN401
    queries: Sequence[Any],
    place: Any,  # noqa: ANN401
    _size: Any,  # noqa: ANN401
    places: int,
) -> list[Any]:
    codes = _int32(builder, _loaded(builder, row, place, _INT8, places))
    numbers = [_int32(builder, _loaded(builder, each, place, _INT16, places)) for each in queries]
    return [_folded(builder, builder.mul(codes, each)) for each in numbers]


def _half_codes(
    builder: Any,  # noqa: ANN401
    row: Any,  # noqa: ANN401
    queries: Sequence[Any],
    place: Any,  # noqa: ANN401
    size: Any,  # noqa: ANN401
    places: int,
) -> list[Any]:
    codes = _loaded(builder, row, place, _INT8, places)
    low = builder.and_(codes, _filled(codes.type, 15))
    high = builder.lshr(codes, _filled(codes.type, 4))
    multiplied = _multiplied if places > 1 and has_multiply_add() else _multiplied_widely
    added = []
    for query in queries:
        first = _loaded(builder, query, place, _INT8, places)
        second = _loaded(builder, query, builder.add(place, size), _INT8, places)
        added.append(multiplied(builder, (low, first), (high, second)))
    return added


def _multiplied(builder: Any, *factors: tuple[Any, Any]) -> Any:  # noqa: ANN401
    """Return int32[8]: the sums of the products of two pairs of uint8[32] and int8[32]."""
    int16 = ir.VectorType(_INT16, 16)
    pairs = [_call(builder, "x86.avx2.pmadd.ub.sw", int16, *each) for each in factors]
    # Products of 4 and 8 bits: a sum of four of them is within 16.
    both = builder.add(*pairs)
    return _call(builder, "x86.avx2.pmadd.wd", _SUMS, both, _filled(int16, 1))


def _multiplied_widely(builder: Any, *factors: tuple[Any, Any]) -> Any:  # noqa: ANN401
    """Return the same by what every processor has; of single numbers, an int32."""
    products = []
    for halves, numbers in factors:
        wide = _like(halves.type, _INT16)
        products.append(builder.mul(builder.zext(halves, wide), builder.sext(numbers, wide)))
    return _folded(builder, _int32(builder, builder.add(*products)))


def _folded(builder: Any, numbers: Any) -> Any:  # noqa: ANN401
    """Return int32[8] by adding neighbours; a single number as it is."""
    while isinstance(numbers.type, ir.VectorType) and numbers.type.count > _LANES:
        halved = ir.VectorType(_INT32, numbers.type.count // 2)
        even, odd = (
            builder.shuffle_vector(
                numbers, numbers, ir.Constant(halved, list(range(first, numbers.type.count, 2)))
            )
            for first in (0, 1)
        )
        numbers = builder.add(even, odd)
    return numbers


def _loaded(builder: Any, array: Any, place: Any, kind: Any, places: int) -> Any:  # noqa: ANN401
    """Return so many numbers of an array from a place on."""
    address = builder.gep(builder.bitcast(array, kind.as_pointer()), [place])
    if places == 1:
        return builder.load(address)
    vector = ir.VectorType(kind, places)
    return builder.load(builder.bitcast(address, vector.as_pointer()), align=1)


def _int32(builder: Any, numbers: Any) -> Any:  # noqa: ANN401
    return builder.sext(numbers, _like(numbers.type, _INT32))


def _like(kind: Any, element: Any) -> Any:  # noqa: ANN401
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def _filled(kind: Any, number: int) -> Any:  # noqa: ANN401
    whole = [number] * kind.count if isinstance(kind, ir.VectorType) else number
    return ir.Constant(kind, whole)


def _call(builder: Any, name: str, returned: Any, *values: Any) -> Any:  # noqa: ANN401
    """Call what LLVM has by this name."""
    kind = ir.FunctionType(returned, [value.type for value in values])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}")
    return builder.call(function, values)


dot: Any = _product(_whole_codes, 16)
"""Within a kernel: `dot(row, queries, which, d)` is a tuple of int32, the products of int8[d] at
the address `row` with those rows of int16[n, d] at the address `queries` that the tuple `which`
names. Each sum must stay within int32; whoever calls keeps the arrays alive."""

half_dot: Any = _product(_half_codes, 32)
"""Likewise `half_dot(row, queries, which, h)`, the products of 2 * h numbers of four bits in the
uint8[h] at `row`, the first h of them in the lower four bits, with rows of int8[n, 2 * h]."""
