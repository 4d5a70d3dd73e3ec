"""The native step as Python sees it; `engine/native/` is its source."""

import numpy as np
from numpy.typing import NDArray

BLOCK: int

def path(wanted: str) -> str: ...
def uniform(key: int, position: int) -> float: ...
def read_bandwidth(bytes: int, threads: int) -> float: ...

class Model:
    def __init__(
        self,
        *,
        vocabulary: int,
        hidden: int,
        layers: int,
        heads: int,
        key_value_heads: int,
        head_width: int,
        intermediate: int,
        epsilon: float,
        tied: bool,
        weights: str,
        ends: str,
        cache: str,
        blocks: int,
        path: str,
    ) -> None: ...
    def pack_floats(self, name: str, layer: int, values: NDArray[np.float32], threads: int) -> None: ...
    def pack_halves(self, name: str, layer: int, values: NDArray[np.uint16], threads: int) -> None: ...
    def pack_quantised(
        self, name: str, layer: int, values: NDArray[np.int8], scales: NDArray[np.uint16], first: int, threads: int
    ) -> None: ...
    def set(self, name: str, layer: int, values: NDArray[np.float32]) -> None: ...
    def set_rotary(self, cosine: NDArray[np.float32], sine: NDArray[np.float32]) -> None: ...
    def copy_block(self, source: int, target: int) -> None: ...
    @property
    def path(self) -> str: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    def step(
        self,
        ids: NDArray[np.int32],
        positions: NDArray[np.int32],
        rows: NDArray[np.int32],
        tables: NDArray[np.int32],
        draw_from: NDArray[np.int32],
        draw_rows: NDArray[np.int32],
        forced: NDArray[np.int32],
        keys: NDArray[np.uint64],
        settings: NDArray[np.float32],
        drawn: NDArray[np.int32],
        logprobs: NDArray[np.float32],
        threads: int,
        kept: NDArray[np.int32] | None = None,
        logits: NDArray[np.float32] | None = None,
    ) -> None: ...
    def burst(
        self,
        slots: NDArray[np.int32],
        newest: NDArray[np.int32],
        positions: NDArray[np.int32],
        tables: NDArray[np.int32],
        keys: NDArray[np.uint64],
        settings: NDArray[np.float32],
        stops: NDArray[np.int32],
        most: NDArray[np.int32],
        drawn: NDArray[np.int32],
        logprobs: NDArray[np.float32],
        counts: NDArray[np.int32],
        least: int,
        threads: int,
    ) -> None: ...
