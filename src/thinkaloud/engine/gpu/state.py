"""What the device knows of each row: a line of whole numbers, so that it can draw, force and stop without the host.

L lines, W table entries a line. Line 0 belongs to nobody and is never alive: it fills batches up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from thinkaloud.engine.row import Row
from thinkaloud.model import Transformer

NEWEST, POSITION, ALIVE, DRAWN, THOUGHT, PHASE, FORCED_AT = range(7)
"Columns that the step changes: newest id and its position; 1 while the row goes on; as in `Row`; forced ids used."
MOST, BUDGET, CLOSE, FORCED_COUNT, KEY, TOP_K = range(7, 13)
"Columns that stay: most drawn tokens, thought budget, closing id (-1: none), number of forced ids, noise key, top-k."
STOPS, COLUMNS = 16, 32
"Where the stop ids (-1: none) begin, and where a line ends."
MOST_STOPS = COLUMNS - STOPS
"A row with more stop ids is stopped by the host alone, a few idle steps later."
FREE, CLOSING, ANSWERING = 0, 1, 2
"Phases, those of `Row`."


class Standing(NamedTuple):
    """Where the rows of a batch stand, before a step."""

    ids: Tensor
    "newest id, int64 [B]"
    positions: Tensor
    "its position, int64 [B]"
    slots: Tensor
    "where in the cache it goes: block times size plus place in the block; 0 for a dead row, int64 [B]"
    lengths: Tensor
    "tokens that it looks at, itself included; 0 for a dead row, int64 [B]"
    noise: Tensor
    "a uniform in [0, 1), the one of `engine.noise.uniforms`, float64 [B]"


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The shape of attention."""

    query: int
    "H"
    key_value: int
    "K"
    width: int
    "E"
    split: int
    "tokens of a stretch of the context, which one program reads and which never depends on the batch"


class State:
    """Lines 1 to `lines` - 1 for rows of at most `blocks` blocks each."""

    def __init__(self, lines: int, blocks: int, device: torch.device) -> None:
        self.device = device
        self.numbers = torch.zeros(lines, COLUMNS, dtype=torch.int64, device=device)
        "the columns, int64 [L, COLUMNS]"
        self.settings = torch.ones(lines, 3, dtype=torch.float32, device=device)
        "temperature, top-p and min-p, float32 [L, 3]"
        self.tables = torch.zeros(lines, blocks, dtype=torch.int32, device=device)
        "the cache blocks of each line, int32 [L, W]"
        self.forced = torch.zeros(lines, 32, dtype=torch.int64, device=device)
        "the ids that a policy forces, in order, int64 [L, 32 or more]"

    def widen(self, count: int) -> bool:
        """Make room for `count` forced ids; true where that moved them to another address."""
        short = count - self.forced.shape[1]
        if short > 0:
            self.forced = torch.nn.functional.pad(self.forced, (0, max(short, self.forced.shape[1])))
        return short > 0

    def send(self, values: Sequence[object], dtype: torch.dtype) -> Tensor:
        """Numbers of the host on the device, without waiting for it."""
        tensor = torch.tensor(values, dtype=dtype)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def write(self, lines: Sequence[int], rows: Sequence[Row], blocks: Sequence[Sequence[int]]) -> None:
        """Set up the lines of rows whose prompts are in the cache, all but their last token."""
        at = self.send(lines, torch.int64)
        width = self.tables.shape[1]
        padded = [[*own, *[0] * (width - len(own))] for own in blocks]
        self.tables.index_copy_(0, at, self.send(padded, torch.int32))
        self.numbers.index_copy_(0, at, self.send([numbers_of(row) for row in rows], torch.int64))
        forced = [row.request.policy.forced_close if row.request.policy else () for row in rows]
        most = self.forced.shape[1]
        self.forced.index_copy_(0, at, self.send([[*ids, *[0] * (most - len(ids))] for ids in forced], torch.int64))
        settings = [(row.request.temperature, row.request.top_p, row.request.min_p) for row in rows]
        self.settings.index_copy_(0, at, self.send(settings, torch.float32))


def numbers_of(row: Row) -> list[int]:
    """The columns of a row, fresh or under way."""
    request, policy = row.request, row.request.policy
    line = [0] * COLUMNS
    newest = row.ids[-1] if row.ids else request.prompt_ids[-1]
    line[NEWEST], line[POSITION], line[ALIVE] = newest, row.next_position - 1, 1
    line[PHASE], line[MOST], line[CLOSE] = row.phase, request.max_tokens, -1
    line[DRAWN], line[THOUGHT] = row.drawn, row.thought
    line[KEY] = row.key - (1 << 64) if row.key >> 63 else row.key
    line[TOP_K] = request.top_k
    stops = sorted(request.stop_ids) if len(request.stop_ids) <= MOST_STOPS else []
    line[STOPS:] = [*stops, *[-1] * (MOST_STOPS - len(stops))]
    if policy is not None:
        line[BUDGET], line[FORCED_COUNT] = row.budget, len(policy.forced_close)
        line[CLOSE] = -1 if policy.close_id is None else policy.close_id
    return line


def room_for_tokens(model: Transformer, max_rows: int, block: int) -> int:
    """Room for the cache, in tokens: half of what is free on a GPU, a gibibyte elsewhere; no more than rows can use."""
    config, device = model.config, model.head.device
    width = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * model.head.element_size()
    room = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 1 << 30
    longest = -(-config.max_position_embeddings // block) * block
    return min(room // width, max_rows * longest)
