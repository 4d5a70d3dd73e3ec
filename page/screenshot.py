"""The picture of the README: `make screenshot`. The bundled model, the real server, Chromium; docs/images/chat.png."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "chat.png"
SIZE = {"width": 1080, "height": 970}
STARTS_WITHIN = 120.0
"Seconds."


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def questions(url: str) -> list[str]:
    """The model's own examples, asked as soon as the server is up."""
    until = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            with urllib.request.urlopen(f"{url}/v1/models") as answer:
                families = json.load(answer)["data"][0]["thinkaloud"]["families"]
                return [family["example"] for family in families][:2]
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def talk(page: Page, asked: list[str]) -> None:
    """One question answered, one with four samples and their vote."""
    page.check("[data-setting=verify]")
    for number, question in enumerate(asked, 1):
        page.select_option("[data-setting=samples]", "1" if number == 1 else "4")
        page.fill("#question", question)
        page.press("#question", "Enter")
        page.wait_for_selector(f".turn:nth-child({number})[aria-busy=false]")
    page.locator(".thinking summary").first.click()
    page.locator("#talk").evaluate("talk => talk.scrollTop = talk.scrollHeight")
    page.wait_for_timeout(500)


def main() -> int:
    """The command."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("There is no Chromium to take the picture with: apt install chromium")
        return 1
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([sys.executable, "-m", "thinkaloud", "serve", "--port", str(port)])
    try:
        asked = questions(url)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE, color_scheme="light")
            page.goto(url)
            page.wait_for_selector(".welcome")
            talk(page, asked)
            PICTURE.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=PICTURE)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
