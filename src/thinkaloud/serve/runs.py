"""Training runs over HTTP, to be looked at: what `/runs` shows. Read only.

Knows: addresses, pages, limits. Doesn't know: what a run folder holds (`reports/` reads it), nor how training works.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query

from thinkaloud.base.run import ROLLOUTS
from thinkaloud.reports import watch

Page = Annotated[int, Query(ge=0, le=100_000)]
Name = Annotated[str, Query(max_length=200)]
Answer = dict[str, Any]


def runs_router(folder: Path) -> APIRouter:
    """The runs that lie below `folder`."""
    router = APIRouter(prefix="/api/runs", tags=["runs"])
    indices: dict[Path, watch.RolloutIndex] = {}
    reading = asyncio.Lock()

    def run_of(name: str) -> Path:
        found = watch.runs_under(folder)
        if name not in found:
            raise HTTPException(404, f"there is no run {name!r} under {folder.name}: /api/runs lists those that are")
        return found[name]

    @router.get("", summary="All runs, the one that changed last first")
    def listed() -> list[Answer]:
        found = [watch.overview(name, run) for name, run in watch.runs_under(folder).items()]
        return sorted(found, key=lambda one: -one["changed"])

    @router.get("/{name:path}/rollouts", summary="Replies of a stage, problem by problem")
    async def rollouts(
        name: str,
        stage: Name,
        page: Page = 0,
        family: Name | None = None,
        verdict: Literal["right", "wrong", "ungradable"] | None = None,
        problem: Name | None = None,
    ) -> Answer:
        run = run_of(name)
        if stage not in watch.stages_of(run):
            raise HTTPException(404, f"run {name!r} has no stage {stage!r}: /api/runs lists its stages")
        path = run / "checkpoints" / stage / ROLLOUTS
        async with reading:
            index = indices.setdefault(path, watch.RolloutIndex(path=path))
            return await asyncio.to_thread(
                lambda: watch.rollouts(index, page=page, family=family, verdict=verdict, problem=problem)
            )

    @router.get("/{name:path}/compared", summary="The same problems as two models answered them")
    def compared(name: str, before: Name | None = None, after: Name | None = None, page: Page = 0) -> Answer:
        return watch.compared(run_of(name), before=before, after=after, page=page)

    @router.get("/{name:path}", summary="One run: its stages, curves and results")
    def one(name: str) -> Answer:
        run = run_of(name)
        return {**watch.overview(name, run), "curves": watch.curves(run), "results": watch.results(run)}

    return router
