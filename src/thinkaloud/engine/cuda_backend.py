"""The engine's step on a GPU: the host admits, launches ahead and hands out; what rows draw is decided on the device.

A launch is one step, or several for many rows. While one runs, the next is queued already: the device itself forces,
stops and counts, so that nothing in it waits for the host. A row that has ended idles until the next launch.
Its blocks may be given away at once: whatever is queued before their next owner's writing comes before it.
"""

from collections import deque
from collections.abc import Sequence

import torch

from thinkaloud.engine.backend import Source
from thinkaloud.engine.blocks import BlockPool
from thinkaloud.engine.gpu.operations import Operations, operations_for
from thinkaloud.engine.gpu.prefill import Stretch, prefill
from thinkaloud.engine.gpu.state import Heads, State, room_for_tokens
from thinkaloud.engine.gpu.step import Mode, Results, Step
from thinkaloud.engine.gpu.truncate import CANDIDATES
from thinkaloud.engine.gpu.weights import Weights
from thinkaloud.engine.row import Draw, Row
from thinkaloud.engine.steered import draw_steered
from thinkaloud.model import Transformer

BLOCK = 32
"Tokens of a cache block."
_FEW_ROWS, _MANY_STEPS = 8, 8
"Up to so many rows, a launch is one step, for the sake of streams; beyond, so many steps."


class Place:
    """Where a row stands: its line, its blocks, what it was launched for, and tokens not handed out yet."""

    def __init__(self, row: Row, line: int, blocks: list[int]) -> None:
        self.row, self.line, self.blocks = row, line, blocks
        self.tokens: deque[tuple[int, float]] = deque()
        self.left = row.most_tokens - len(row.request.prompt_ids)
        "steps that can still bring a token, launched ones taken off"
        self.gone = False
        self.by_hand = row.steered or bool(row.forced)  # the host draws from logits, a launch a token
        r = row.request
        self.mode: Mode = "free"
        if r.temperature > 0 and (r.top_p, r.top_k, r.min_p) != (1.0, 0, 0.0):
            self.mode = "few" if 0 < r.top_k <= CANDIDATES else "sorted"


class _Prompt:
    """A prompt on its way into the cache, without its last token, and the places that wait for it."""

    def __init__(self, ids: tuple[int, ...], known: int) -> None:
        self.ids, self.done = ids, known
        self.places: list[Place] = []


class _Flight:
    """A launch under way."""

    def __init__(self, places: list[Place], results: Results) -> None:
        self.places, self.results = places, results


class CudaBackend:
    """Runs `model` with weights in a format of GPU_FORMATS; `prefill_tokens` prompt tokens between two launches.

    `steps` fixes the steps of a launch; `split` the stretch of context that one program of attention reads.
    On a CPU the same code runs eagerly, for tests; `operations` puts other operations in.
    """

    name = "cuda"

    def __init__(
        self,
        model: Transformer,
        *,
        weights: str = "auto",
        max_rows: int = 512,
        prefill_tokens: int = 16_384,
        cache_tokens: int | None = None,
        steps: int | None = None,
        split: int | None = None,
        operations: Operations | None = None,
    ) -> None:
        config, device = model.config, model.head.device
        self.model, self.prefill_limit, self.steps = model, prefill_tokens, steps
        self.weights = str(model.head.dtype).removeprefix("torch.") if weights == "auto" else weights
        self.prefilled_tokens = 0
        longest = config.max_position_embeddings
        with torch.no_grad():
            packed = Weights(model, self.weights)
        if device.type == "cuda":
            torch.cuda.empty_cache()  # fusing leaves holes that nothing fits into
        shape = (config.num_hidden_layers, 2, config.num_key_value_heads, BLOCK, config.head_dim)
        if cache_tokens is None:
            cache_tokens = room_for_tokens(model, max_rows, BLOCK)
        blocks = -(-cache_tokens // BLOCK) + 1
        cache = model.head.new_empty((*shape[:2], blocks, *shape[2:]))
        self.pool = BlockPool(blocks, BLOCK, keep=blocks)
        self.pool.take()  # block 0 takes what dead rows write
        assert not (split or 0) % 64
        heads = Heads(
            query=config.num_attention_heads,
            key_value=config.num_key_value_heads,
            width=config.head_dim,
            split=split or max(256, -(-longest // 4096) * 64),
        )
        self.state = State(max_rows + 1, -(-longest // BLOCK), device)
        self.device_step = Step(
            packed,
            self.state,
            cache,
            heads,
            operations or operations_for(device),
            eps=config.rms_norm_eps,
            steps=steps or _MANY_STEPS,
            graphs=device.type == "cuda",
        )
        self._free_lines = list(range(1, max_rows + 1))[::-1]
        self._places: dict[int, Place] = {}
        self._prompts: dict[tuple[int, ...], _Prompt] = {}
        self._running: list[Place] = []
        self._by_hand: list[Place] = []
        self._flights: deque[_Flight] = deque()

    # --- rows come and go ---

    def capacity(self) -> int:
        """How many tokens a single thread may have."""
        return (self.pool.blocks - 1) * BLOCK

    def admit(self, row: Row) -> bool:
        """Take in a row if the blocks that it may come to need are there; it gets all of them now."""
        ids = row.request.prompt_ids[:-1]
        whole = len(ids) // BLOCK
        prompt = self._prompts.get(ids)
        if prompt is not None:
            shared = [self.pool.share(block) for block in prompt.places[0].blocks[:whole]]
        else:
            shared = self.pool.find(ids)
        missing = -(-row.most_tokens // BLOCK) - len(shared)
        if self.pool.available < missing or not self._free_lines:
            self.pool.give(shared)
            return False
        if prompt is None:
            prompt = self._prompts[ids] = _Prompt(ids, len(shared) * BLOCK)
        blocks = shared + [self.pool.take() for _ in range(missing)]
        place = self._places[row.handle] = Place(row, self._free_lines.pop(), blocks)
        row.cached = len(shared) * BLOCK
        prompt.places.append(place)
        return True

    def ahead(self, rows: Sequence[Row], waiting: int) -> int:
        """None: steps are taken."""
        return 0

    def release(self, row: Row) -> None:
        """A row is done: what it has come to stays known for those who continue it."""
        place = self._places.pop(row.handle)
        place.gone = True
        self._free_lines.append(place.line)
        thread = (*row.request.prompt_ids, *row.ids)[:-1]
        prompt = self._prompts.get(row.request.prompt_ids[:-1])
        if prompt is not None and place in prompt.places:
            if prompt.places[0] is place:  # what lies in its last block is lost to the others
                prompt.done = min(prompt.done, len(prompt.ids) // BLOCK * BLOCK)
            prompt.places.remove(place)
            if not prompt.places:
                del self._prompts[prompt.ids]
            thread = prompt.ids[: prompt.done]
        else:
            (self._by_hand if place in self._by_hand else self._running).remove(place)
        self.pool.remember(thread, place.blocks)
        self.pool.give(place.blocks)

    def grow(self, row: Row, tokens: int) -> bool:
        """Give a row blocks for so many more tokens, if they are there."""
        if (place := self._places.get(row.handle)) is None:
            return True
        more = -(-(row.most_tokens + tokens) // BLOCK) - len(place.blocks)
        if self.pool.available >= more:
            place.blocks += [self.pool.take() for _ in range(more)]
        return len(place.blocks) * BLOCK >= row.most_tokens + tokens

    def steer(self, row: Row) -> None:
        """A row's plan, noise or tokens have changed: what was drawn ahead is void, and the host takes over."""
        old = self._places[row.handle]
        old.by_hand = True
        if old in self._running:
            self._running.remove(old)
            self._by_hand.append(Place(row, old.line, old.blocks))
            self._places[row.handle] = self._by_hand[-1]
            old.gone = self._by_hand[-1].by_hand = True

    def rest(self, row: Row) -> None:
        """A row that pauses is not launched; what was drawn ahead stays good."""

    def forget(self) -> None:
        """Drop every cached prefix."""
        self.pool.forget()

    def refresh(self, source: Source | None = None) -> None:
        """The weights have changed: take them over, at once."""
        assert source is None, "the model's own numbers are run"
        with torch.no_grad():
            self.device_step.weights.refresh()
        self.pool.forget()

    # --- the step ---

    @torch.inference_mode()
    def step(self, rows: Sequence[Row]) -> list[Draw | None]:
        """The next token of each row out of what has arrived; if there is none, prefill, launch ahead and wait."""
        self._sort()
        places = [self._places[row.handle] for row in rows]
        drawn = self._draw_by_hand()
        if not any(place.tokens and not place.row.paused for place in places):
            self._advance()
        return [drawn.get(place.row.handle) or _next(place) for place in places]

    def _sort(self) -> None:
        """Rows that are steered now go over to the host, those that no longer are back to the device."""
        for row in [place.row for place in self._running if not place.row.plain and place.row.leaves_step]:
            self.steer(row)
        back = [place for place in self._by_hand if not place.row.needs_hand]
        self._by_hand = [place for place in self._by_hand if place not in back]
        for place in back:
            place.by_hand, place.left = False, place.row.most_tokens - place.row.next_position
        if back:
            self._write(back)
        self._running += back

    def _draw_by_hand(self) -> dict[int, Draw]:
        """A token for each row that is steered: the device gives logits, the host draws."""
        if not (places := [place for place in self._by_hand if not place.row.paused]):
            return {}
        self._write(places)
        rows = [(place.row, place.row.force()) for place in places]
        logits = self.device_step.logits([place.line for place in places]).float().cpu().numpy()
        return {row.handle: draw_steered(row, one, forced) for (row, forced), one in zip(rows, logits, strict=True)}

    def _advance(self) -> None:
        """Queue stretches of prompts and up to two launches, then take what the older one drew."""
        self._prefill()
        while self._flights and all(place.gone for place in self._flights[0].places):
            self._flights.popleft()
        while len(self._flights) < 2 and self._launch():
            pass
        if not self._flights:
            return
        flight = self._flights.popleft()
        for place, ids, logprobs in zip(flight.places, *flight.results.wait(), strict=False):
            if not place.gone:
                place.tokens.extend(zip(ids, logprobs, strict=True))

    def _launch(self) -> bool:
        places = [place for place in self._running if place.left > 0 and not place.row.paused]
        if not places:
            return False
        steps = self.steps or (1 if len(places) <= _FEW_ROWS else _MANY_STEPS)
        modes = {place.mode for place in places}
        mode: Mode = "sorted" if "sorted" in modes else "few" if "few" in modes else "free"
        results = self.device_step.launch([place.line for place in places], mode, steps)
        for place in places:
            place.left -= steps
        self._flights.append(_Flight(places, results))
        return True

    def _prefill(self) -> None:
        """Stretches of the oldest prompts, up to the limit; prompts that are through start their rows."""
        room, stretches, finished = self.prefill_limit, [], []
        for prompt in self._prompts.values():
            last = min(len(prompt.ids), prompt.done + room)
            if last > prompt.done:
                ids = prompt.ids[prompt.done : last]
                stretches.append(Stretch(ids=ids, first=prompt.done, blocks=prompt.places[0].blocks))
            room -= last - prompt.done
            self.prefilled_tokens += last - prompt.done
            prompt.done = last
            if last == len(prompt.ids):
                finished.append(prompt)
            if room <= 0:
                break
        if stretches:
            prefill(self.device_step, stretches)
        if finished:
            self._start(finished)

    def _start(self, prompts: Sequence[_Prompt]) -> None:
        """Rows whose prompts are in the cache: those of one prompt share it, but for a last, partly filled block."""
        sources: list[int] = []
        targets: list[int] = []
        places: list[Place] = []
        for prompt in prompts:
            del self._prompts[prompt.ids]
            self.prefilled_tokens += 1  # the last token, which the first step of its rows takes
            whole = len(prompt.ids) // BLOCK
            first, *others = prompt.places
            if len(prompt.ids) % BLOCK:
                sources += [first.blocks[whole]] * len(others)
                targets += [place.blocks[whole] for place in others]
            self.pool.remember(prompt.ids, first.blocks)
            places += prompt.places
        if sources:
            cache = self.device_step.cache
            cache[:, :, self.state.send(targets, torch.int64)] = cache[:, :, self.state.send(sources, torch.int64)]
        self._write(places)
        self._running += [place for place in places if not place.by_hand]
        self._by_hand += [place for place in places if place.by_hand]

    def _write(self, places: Sequence[Place]) -> None:
        """Tell the device where rows stand."""
        rows = [place.row for place in places]
        forced = [len(row.request.policy.forced_close) for row in rows if row.request.policy]
        if self.state.widen(max(forced, default=0)):
            self.device_step.forget_graphs()
        self.state.write([place.line for place in places], rows, [place.blocks for place in places])


def _next(place: Place) -> Draw | None:
    """A place's next token as the engine takes it; the row's own automaton must agree with the device's."""
    if not place.tokens or place.row.paused:
        return None
    token, logprob = place.tokens.popleft()
    forced = place.row.force()
    assert token >= 0 and forced in (None, token), "the device's automaton is not the row's"
    return Draw(token, logprob, forced is None)
