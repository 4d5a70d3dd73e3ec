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


GEMV = {
    "plain": Tiles(4, 1024, 4, 3),
    "fp8": Tiles(4, 512, 1, 1),
    "int8": Tiles(4, 512, 1, 1),
    "int4": Tiles(4, 1024, 1, 1),
}
"Tiles for one row by format; `tuned` holds better ones for single shapes."
FEW_ROWS = {"fp8": Tiles(128, 128, 8, 3), "int8": Tiles(64, 256, 4, 3), "int4": Tiles(128, 256, 8, 3)}
"Tiles for a few rows by format: the best of eight or nine on an H200."
LEAST_WIDTH = {"fp8": 16, "int8": 64, "int4": 16}
"Rows of x that a program does at least: an H200 did int8 faster 64 at a time than 16."
tuned: dict[tuple[str, int, int], Tiles] = {}
"Tiles for one row by format, outputs and inputs, as a search on the machine found them."
