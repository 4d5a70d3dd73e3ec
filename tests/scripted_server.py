"""A server that replies by a script: what the page's tests talk to. It speaks our API, and keeps what it was asked."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from thinkaloud.serve.pages import page_router
from thinkaloud.serve.runs import runs_router

Json = dict[str, Any]
BEADS = "Mia has 7 beads: finds 3, loses 2, buys 5. How many?"
CUPS = "Red under A, blue under B. Swap AC BD CE. Where now?"
RICH = """So it is **13 beads**, because

$$7 + 3 - 2 + 5 = 13$$

and in general $n = \\sum_i \\frac{a_i}{1}$, see [the page](https://example.org/beads).

```python
def beads(start: int, moves: list[int]) -> int:
    return start + sum(moves)  # no loops
```

| move | beads |
| --- | ---: |
| finds 3 | 10 |
| loses 2 | 8 |

1. a list
2. with *two* entries
"""
FAMILIES = [{"name": "chains", "example": BEADS}, {"name": "cups", "example": CUPS}]


class UnderWay:
    """One reply and what its reader wants of it."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.answer_now: set[int] = set()
        self.cancelled = False
        self.added: list[str] = []
        self.more = 0


def scripted(question: str, index: int) -> tuple[str, str, bool | None]:
    """Thought, answer and verdict for a question."""
    if question.startswith("show "):
        return "Let me see <b>that</b>.", question.removeprefix("show "), None
    if question == "rich":
        return "7 + 3 = 10\n10 - 2 = 8\n8 + 5 = 13", RICH, True
    if question == "circles":
        return "round and round and no", "out", True
    if question == "long":
        return "\n".join(f"step {step} of many" for step in range(400)), "done", True
    if question == CUPS:
        return "AC C B\nBD C D\nCE E D", "Red E, blue D", True
    wrong = index % 4 == 3
    return "7 + 3 = 10\n10 - 2 = 8\n8 + 5 = " + ("12" if wrong else "13"), "12" if wrong else "13", not wrong


def pieces(text: str) -> list[str]:
    """Words with the space before them."""
    return re.findall(r"\s*\S+\s*$|\s*\S+", text)


def fault(status: int, message: str, **headers: str) -> Response:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return JSONResponse(
        body, status_code=status, headers={key.replace("_", "-"): text for key, text in headers.items()}
    )


def build(
    page: Path, runs: Path, *, key: str = "", turns: int | None = None, instruction: str = "", pause: float = 0.01
) -> FastAPI:
    """The server. `pause`: seconds a token; `key`: the one it asks for."""
    app = FastAPI()
    app.include_router(page_router(page))
    app.include_router(runs_router(runs))
    app.state.asked, app.state.steered, app.state.reports = [], [], []
    under_way: dict[str, UnderWay] = {}
    numbers = count()

    def closed(request: Request) -> bool:
        return bool(key) and request.headers.get("authorization") != f"Bearer {key}"

    @app.get("/v1/models")
    async def models(request: Request) -> Any:
        if closed(request):
            return fault(401, "give the server's key")
        facts = {"families": FAMILIES, "turns": turns, "instruction": instruction, "context": 512, "max_tokens": 256}
        return {"object": "list", "data": [{"id": "scripted", "object": "model", "thinkaloud": facts}]}

    @app.post("/v1/chat/completions/control")
    async def control(request: Request) -> Any:
        wish = await request.json()
        app.state.steered.append(wish)
        reply = under_way.get(wish["id"])
        if reply is None:
            return fault(404, f"no reply {wish['id']} is under way")
        match wish["action"]:
            case "pause":
                reply.go.clear()
            case "resume":
                reply.go.set()
            case "answer_now":
                reply.answer_now |= {wish["index"]} if "index" in wish else set(range(64))
                reply.go.set()
            case "add":
                reply.added.append(wish["text"])
            case "think_on":
                reply.more += wish.get("tokens", 0)
            case "cancel":
                reply.cancelled = True
        done = wish["action"] != "think_on" or reply.more <= 64
        return {"id": wish["id"], "action": wish["action"], "done": done}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Any:
        if closed(request):
            return fault(401, "give the server's key")
        asked = await request.json()
        app.state.asked.append(asked)
        question = asked["messages"][-1]["content"]
        if question == "refuse":
            return fault(400, "the conversation has 900 tokens, more than the model's context of 512: shorten it")
        if question == "busy":
            return fault(503, "64 requests wait", Retry_After="3")
        return StreamingResponse(stream(asked, question), media_type="text/event-stream")

    async def stream(asked: Json, question: str) -> AsyncIterator[str]:
        name = f"chatcmpl-{next(numbers)}"
        reply = under_way[name] = UnderWay()
        samples = asked.get("n") or 1
        waiting: asyncio.Queue[Json | None] = asyncio.Queue()
        spent = {"reasoning": 0, "answer": 0, "forced": 0}

        def put(index: int, delta: Json, **more: Any) -> None:
            waiting.put_nowait({"choices": [{"index": index, "delta": delta, "finish_reason": None, **more}]})

        async def say(index: int) -> None:
            thought, answer, right = scripted(question, index)
            thinking = [] if asked["reasoning_effort"] == "none" else pieces(thought)
            budget = asked.get("thinking_budget")
            ended = "natural" if thinking else "none"
            for place, piece in enumerate(thinking):
                await reply.go.wait()
                if index in reply.answer_now or (budget is not None and place >= budget + reply.more):
                    ended = "client" if index in reply.answer_now else "budget"
                    spent["forced"] += 2
                    break
                for text in reply.added:
                    put(index, {"reasoning_content": f"\n{text}\n"})
                reply.added.clear()
                put(index, {"reasoning_content": piece})
                if question == "circles" and place == 3:
                    put(index, {"reasoning_taken_back": " round and"})
                spent["reasoning"] += 1
                await asyncio.sleep(pause)
            if question == "break":
                waiting.put_nowait({"error": {"message": "the engine fell over", "type": "server_error"}})
            for piece in pieces(answer):
                put(index, {"content": piece})
                spent["answer"] += 1
                await asyncio.sleep(pause)
            verdict = {"verified": right, "confidence": 0.9} if asked.get("verify") else {}
            put(index, {}, **{"finish_reason": "stop", "thought_end": ended, **verdict})

        async def all_of_them() -> None:
            await asyncio.gather(*(say(index) for index in range(samples)))
            waiting.put_nowait(None)

        work = asyncio.create_task(all_of_them())
        head = {"id": name, "object": "chat.completion.chunk", "created": 0, "model": "scripted"}
        while (chunk := await waiting.get()) is not None and not reply.cancelled:
            yield f"data: {json.dumps(head | chunk)}\n\n"
            if "error" in chunk:
                break
        work.cancel()
        del under_way[name]
        if reply.cancelled or question == "break":
            return
        details = {f"{what}_tokens": number for what, number in spent.items()} | {
            "probe_tokens": 0,
            "discarded_tokens": 0,
        }
        usage = {
            "prompt_tokens": 20,
            "completion_tokens": sum(spent.values()),
            "total_tokens": 20 + sum(spent.values()),
            "prompt_tokens_details": {"cached_tokens": 8},
            "completion_tokens_details": details,
        }
        yield f"data: {json.dumps(head | {'choices': [], 'usage': usage})}\n\n"
        yield "data: [DONE]\n\n"

    return app


if __name__ == "__main__":  # python tests/scripted_server.py RUNS: to look at the page without a model
    import uvicorn

    from thinkaloud.serve.pages import BUILT

    uvicorn.run(build(BUILT, Path(sys.argv[1]), pause=0.15), port=8765, log_level="warning")
