"""Sizes of the tiles in which the matrix kernels work, as timed on an H200; a search on the machine may change them."""

from typing import NamedTuple


class Tiles(NamedTuple):
    """Sizes of a matrix kernel's tiles."""

    outputs: int
    "rows of the matrix that a program does"
    inputs: int
    "columns at a time"
    warps: int
    "warps of 32 threads"
    stages: int
    "how many loads are under way"


class Few(NamedTuple):
    """Sizes of a kernel for a few rows."""

    outputs: int
    "rows of the matrix that a program does"
    warps: int
    "warps of 32 threads"
    stages: int
    "how many loads are under way"
    together: int
    "programs that a multiprocessor runs at once"


GEMV = Tiles(4, 1024, 4, 3)
"For one row of plain weights; `tuned` holds better ones for single shapes."
PACKED = {8: Few(128, 4, 3, 3), 16: Few(128, 4, 3, 3), 32: Few(128, 4, 3, 2), 64: Few(128, 4, 2, 2)}
"For int8 and int4, a stretch at a time, by the rows that a program does; a program's memory suits small cards too."
FP8, FP8_INPUTS = Few(128, 8, 3, 2), 128
"For fp8, and the columns at a time."
EXACT = Few(32, 4, 2, 4)
"In float32, which the matrix units don't do: small, so that it compiles soon."
tuned: dict[tuple[int, int], Tiles] = {}
"Tiles for one row by outputs and inputs, as a search on the machine found them."
