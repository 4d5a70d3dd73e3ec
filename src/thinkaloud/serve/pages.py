"""The pages as files: built by `make page`, served with headers that let them load nothing from elsewhere.

Knows: where the built page lies, which headers it needs. Doesn't know: what the pages show.
"""

from pathlib import Path

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, HTMLResponse, Response

BUILT = Path(__file__).parent / "page"
"Where `make page` puts what it builds."
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"No script, style, font, image or request from anywhere but this server, and none that stands in the page itself."
KEPT = HEADERS | {"Cache-Control": "public, max-age=31536000, immutable"}
"Files under assets/ carry a digest in their name, so that they never change."
FRESH = HEADERS | {"Cache-Control": "no-cache"}
NOT_BUILT = """<!doctype html><meta charset="utf-8"><title>thinkaloud</title>
<h1>The page is not built</h1>
<p>In a checkout, <code>make page</code> builds it (it needs npm's registry once). The server itself is at work under
<code>/v1</code>.</p>
"""


def page_router(folder: Path = BUILT) -> APIRouter:
    """Both pages and their files; only files that lie there now can be asked for, by their exact names."""
    router = APIRouter(include_in_schema=False)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}

    def shown(name: str) -> Response:
        if name not in files:
            return HTMLResponse(NOT_BUILT, status_code=503, headers=FRESH)
        return FileResponse(files[name], headers=FRESH)

    @router.get("/")
    def chat() -> Response:
        return shown("index.html")

    @router.get("/runs")
    def runs() -> Response:
        return shown("runs.html")

    @router.get("/{name}.{kind}")
    def beside(name: str, kind: str) -> Response:
        file = f"{name}.{kind}"
        if kind not in ("js", "svg") or file not in files:
            raise HTTPException(404)
        return FileResponse(files[file], headers=FRESH)

    @router.get("/assets/{name}")
    def asset(name: str) -> Response:
        if (file := files.get(f"assets/{name}")) is None:
            raise HTTPException(404)
        return FileResponse(file, headers=KEPT)

    return router
