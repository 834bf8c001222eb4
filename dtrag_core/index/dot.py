"""Inner products of one int8 row with several int16 queries in one pass, for numba kernels.

A loop over one row and several queries, written in Python, is not turned into multiply-add
instructions by the compiler; written out in its intermediate language it is, on every processor
that has them, and on others it is correct. The row is widened once for all queries, which is most
of the work of a product. Each step takes 16 places: widen, multiply, add neighbours (together
`vpmaddwd` on x86), add to the sums.
"""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_STEP: Final = 16
_INT32: Final = ir.IntType(32)
_PRODUCTS: Final = ir.VectorType(_INT32, _STEP)
_SUMS: Final = ir.VectorType(_INT32, _STEP // 2)


def _dot(
    _: Any,  # noqa: ANN401
    row: Any,  # noqa: ANN401
    queries: Any,  # noqa: ANN401
    which: Any,  # noqa: ANN401
    dimension: Any,  # noqa: ANN401
) -> tuple[Any, Callable[..., Any]]:
    """Return the products int32 of a row with some of the queries."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ANN401
        address, first, _, size = values
        at_row = builder.inttoptr(address, cgutils.voidptr_t)
        bytes_each = builder.mul(size, size.type(2))
        at_queries = []
        for place in range(which.count):
            offset = builder.mul(builder.extract_value(values[2], place), bytes_each)
            at_queries.append(builder.inttoptr(builder.add(first, offset), cgutils.voidptr_t))
        whole = builder.and_(size, size.type(-_STEP))
        sums = _sum_up(builder, _SUMS, at_row, at_queries, (size.type(0), whole, _STEP))
        rest = _sum_up(builder, _INT32, at_row, at_queries, (whole, size, 1))
        reduce = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_INT32, [_SUMS]), "llvm.vector.reduce.add.v8i32"
        )
        totals = [
            builder.add(builder.call(reduce, [vector]), scalar)
            for vector, scalar in zip(sums, rest, strict=True)
        ]
        return context.make_tuple(builder, signature.return_type, totals)

    count, number = which.count, types.int64
    signature = types.UniTuple(types.int32, count)(
        number, number, types.UniTuple(number, count), number
    )
    return signature, generate


def _sum_up(
    builder: Any,  # noqa: ANN401
    kind: Any,  # noqa: ANN401
    row: Any,  # noqa: ANN401
    queries: list[Any],
    steps: tuple[Any, Any, int],
) -> list[Any]:
    """Write a loop; return of each query the sum, a vector or a number, over its places."""
    start, stop, step = steps
    sums = [cgutils.alloca_once_value(builder, ir.Constant(kind, None)) for _ in queries]
    with cgutils.for_range_slice(builder, start, stop, start.type(step)) as (place, _):
        codes = _widened(builder, row, place, 8, step)
        for query, total in zip(queries, sums, strict=True):
            products = builder.mul(codes, _widened(builder, query, place, 16, step))
            if step > 1:
                even = ir.Constant(_SUMS, list(range(0, step, 2)))
                odd = ir.Constant(_SUMS, list(range(1, step, 2)))
                products = builder.add(
                    builder.shuffle_vector(products, products, even),
                    builder.shuffle_vector(products, products, odd),
                )
            builder.store(builder.add(builder.load(total), products), total)
    return [builder.load(total) for total in sums]


def _widened(builder: Any, array: Any, place: Any, bits: int, step: int) -> Any:  # noqa: ANN401
    """Return so many integers of an array from a place on, as int32."""
    of = ir.IntType(bits)
    address = builder.gep(builder.bitcast(array, of.as_pointer()), [place])
    if step == 1:
        return builder.sext(builder.load(address), _INT32)
    vector = ir.VectorType(of, step)
    loaded = builder.load(builder.bitcast(address, vector.as_pointer()), align=1)
    return builder.sext(loaded, _PRODUCTS)


dot: Any = intrinsic(_dot)
"""Within a kernel: `dot(row, queries, which, d)` is a tuple of int32, the products of int8[d] at
the address `row` with those rows of int16[n, d] at the address `queries` that the tuple `which`
names. Each sum must stay within int32; whoever calls keeps the arrays alive."""
