"""The pages in a real browser, by a server that replies by a script: what a visitor can do, what a reply can't."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import scripted_server
from scripted_server import BEADS, CUPS
from thinkaloud.serve.pages import BUILT
from watched_runs import fill, lines, metrics

pytest.importorskip("playwright")
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
expect.set_options(timeout=60_000)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt install chromium"),
    pytest.mark.skipif(not (BUILT / "index.html").exists(), reason="the page is not built: make page"),
]

ATTACKS = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<svg onload='window.hacked = 1'><script>window.hacked = 1</script></svg>",
    "<svg><animate onbegin='window.hacked = 1' attributeName=x dur=1s></svg>",
    "<a href='javascript:window.hacked = 1'>press</a>",
    "[press](javascript:window.hacked=1)",
    "[press](JaVaScRiPt&#58;window.hacked=1)",
    "[press](\x01javascript:window.hacked=1)",
    "[press](data:text/html,<script>window.hacked=1</script>)",
    "[press](vbscript:window.hacked=1)",
    "[press](//evil.example/x) and [here](/v1/models)",
    "[press]: javascript:window.hacked=1\n\n[press]",
    "<javascript:window.hacked=1>",
    '![x](x"onerror="window.hacked=1)',
    "![x](https://evil.example/seen.png) ![y](data:image/svg+xml,<svg onload=alert(1)>)",
    "<iframe srcdoc='<script>parent.hacked = 1</script>'></iframe><object data='data:text/html,x'></object>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=window.hacked=1&gt;'>",
    "<math><annotation-xml encoding='text/html'><img src=x onerror='window.hacked = 1'></annotation-xml></math>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror='window.hacked=1'></style></mglyph></form>",
    "<noscript><p title='</noscript><img src=x onerror=window.hacked=1>'></noscript>",
    "$\\href{javascript:window.hacked=1}{press}$ $\\url{javascript:window.hacked=1}$",
    "$\\htmlData{x=y}{a} \\htmlStyle{position:fixed}{b} \\htmlClass{c}{d} \\htmlId{say}{e}$",
    "$\\includegraphics{https://evil.example/x.png}$ $\\text{</span><img src=x onerror=window.hacked=1>}$",
    "$$\\def\\x{\\x\\x}\\x$$ $\\rule{99999em}{99999em}$",
    "```html onerror=1\n<img src=x onerror='window.hacked = 1'>\n```",
    "```\"><img src=x onerror='window.hacked=1'>\nx\n```",
    "<style>* { display: none }</style><link rel=stylesheet href=https://evil.example/x.css>",
    "<base href='https://evil.example/'><meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<form action=https://evil.example/><button name=x id=question>press</button></form>",
    "<a id=said name=talk>x</a><input autofocus onfocus='window.hacked = 1'>",
    "| a |\n| --- |\n| <details open ontoggle='window.hacked = 1'>x</details> |",
    "`<img src=x onerror='window.hacked = 1'>` **<b onmouseover='window.hacked = 1'>x</b>**",
]


class Served:
    """A scripted server in a thread."""

    def __init__(self, runs: Path, **wishes: Any) -> None:
        self.app = scripted_server.build(BUILT, runs, **wishes)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self.app, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()

    @property
    def asked(self) -> list[dict[str, Any]]:
        return self.app.state.asked

    @property
    def steered(self) -> list[str]:
        return [wish["action"] for wish in self.app.state.steered]

    def end(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path)
    yield server
    server.end()


@pytest.fixture
def context(browser: Browser, served: Served) -> Iterator[BrowserContext]:
    """A fresh visitor; whatever the page complains of, breaks or asks for elsewhere fails the test."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    context.set_default_timeout(60_000)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    faults: list[str] = []

    def watched(route: Route) -> None:
        if not route.request.url.startswith((served.url, "blob:")):
            faults.append(f"asked for {route.request.url}")
        route.continue_()

    def listen(page: Page) -> None:
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)

    context.route("**/*", watched)
    context.on("page", listen)
    yield context
    context.close()
    assert faults == []


@pytest.fixture
def page(context: BrowserContext, served: Served) -> Page:
    page = context.new_page()
    page.goto(served.url)
    expect(page.locator("#model")).to_have_value("scripted")
    return page


def send(page: Page, question: str) -> None:
    page.fill("#question", question)
    page.press("#question", "Enter")


def done(page: Page, turns: int = 1) -> None:
    """Wait until that many turns are there and nothing is under way."""
    expect(page.locator(".turn")).to_have_count(turns)
    expect(page.locator(".turn[aria-busy=true]")).to_have_count(0)


def test_a_thought_streams_in_a_fold_and_closes_when_the_answer_begins(page: Page, served: Served) -> None:
    send(page, "long")
    fold, state = page.locator(".thinking"), page.locator(".state")
    expect(page.locator(".thought")).to_contain_text("step 2 of many")
    expect(state).to_have_text(re.compile(r"Thinking · about \d+ tokens, \d+\.\d s"))
    assert fold.get_attribute("open") is not None
    page.keyboard.press("Escape")
    done(page)
    assert fold.get_attribute("open") is None
    expect(state).to_have_text(re.compile(r"Thought · \d+ tokens, .* · ended by you"))
    expect(page.locator(".answer")).to_have_text("done")
    expect(page.locator(".ledger")).to_contain_text("2 forced")
    expect(page.locator("#said")).to_have_text("Answer: done")
    assert served.steered == ["answer_now"]
    asked = served.asked[0]
    assert (asked["reasoning_effort"], asked["n"], asked["stream_options"]) == ("medium", 1, {"include_usage": True})
    assert "thinking_budget" not in asked and "verify" not in asked


def test_a_thought_is_paused_fed_prolonged_and_stopped(page: Page, served: Served) -> None:
    send(page, "long")
    thought = page.locator(".thought")
    expect(thought).to_contain_text("step 1 of many")
    page.click("text=Pause")
    expect(page.locator(".state")).to_contain_text("Paused")
    page.wait_for_timeout(300)
    before = thought.text_content()
    page.wait_for_timeout(300)
    assert thought.text_content() == before
    page.keyboard.press("Alt+p")
    expect(page.locator(".state")).to_contain_text("Thinking")
    page.keyboard.press("Alt+a")
    page.keyboard.type("Mia lost one")
    page.keyboard.press("Enter")
    expect(thought).to_contain_text("Mia lost one")
    page.keyboard.press("Alt+t")
    expect(page.locator(".state")).to_contain_text("Thinking")
    page.click("text=Think on")
    expect(page.locator("text=No room to think on")).to_be_visible()
    page.click("text=Stop")
    done(page)
    expect(page.locator(".end")).to_have_text("Stopped.")
    expect(page.locator("#steer")).to_be_hidden()
    assert served.steered[:5] == ["pause", "resume", "add", "think_on", "think_on"]


def test_what_is_taken_back_no_longer_stands(page: Page) -> None:
    send(page, "circles")
    done(page)
    expect(page.locator(".thought")).to_have_text("round and no")


def test_the_settings_go_with_the_question_and_stay(page: Page, served: Served) -> None:
    page.check("input[value=high]", force=True)
    page.fill("[data-setting=budget]", "3")
    page.check("[data-setting=verify]")
    page.click("summary:has-text('More')")
    for name, value in {"temperature": "0.5", "seed": "11", "maxTokens": "99"}.items():
        page.fill(f"[data-setting={name}]", value)
    send(page, BEADS)
    done(page)
    expect(page.locator(".state")).to_contain_text("Thought · 3 tokens")
    expect(page.locator(".state")).to_contain_text("ended by its budget")
    expect(page.locator(".verdict")).to_have_text("✓ right")
    asked = served.asked[0]
    wishes = {"reasoning_effort": "high", "thinking_budget": 3, "verify": True}
    assert asked.items() >= (wishes | {"temperature": 0.5, "seed": 11, "max_tokens": 99}).items()
    page.reload()
    expect(page.locator("[data-setting=budget]")).to_have_value("3")
    expect(page.locator("input[value=high]")).to_be_checked()
    send(page, "show this")
    done(page)
    expect(page.locator(".verdict")).to_have_text("can't be checked · 90 % sure")


def test_samples_stand_side_by_side_and_vote(page: Page, served: Served) -> None:
    page.select_option("[data-setting=samples]", "4")
    page.check("[data-setting=verify]")
    send(page, BEADS)
    done(page)
    expect(page.locator(".sample")).to_have_count(4)
    expect(page.locator(".votes li")).to_have_count(2)
    expect(page.locator(".votes li").first).to_contain_text("13")
    expect(page.locator(".votes li").first).to_contain_text("3 of 4")
    expect(page.locator(".votes li.wrong")).to_contain_text("1 of 4")
    expect(page.locator(".sample .verdict.wrong")).to_have_count(1)
    page.locator(".sample").nth(3).get_by_role("button", name="Go on from this").click()
    page.select_option("[data-setting=samples]", "1")
    send(page, "and now?")
    done(page, 2)
    assert [message["content"] for message in served.asked[1]["messages"]] == [BEADS, "12", "and now?"]


def test_questions_branch_and_branches_are_turned(page: Page, served: Served) -> None:
    send(page, BEADS)
    done(page)
    send(page, "second")
    done(page, 2)
    page.locator(".turn").first.get_by_role("button", name="Edit").click()
    page.keyboard.press("Control+a")
    page.keyboard.type(CUPS)
    page.keyboard.press("Enter")
    done(page)
    expect(page.locator(".place")).to_have_text("2/2")
    expect(page.locator(".answer")).to_have_text("Red E, blue D")
    assert [message["content"] for message in served.asked[-1]["messages"]] == [CUPS]
    page.get_by_role("button", name="Again").click()
    done(page)
    expect(page.locator(".place")).to_have_text("3/3")
    page.keyboard.press("Alt+,")
    page.get_by_label("The version before").click()
    done(page, 2)
    expect(page.locator(".place")).to_have_text("1/3")
    expect(page.locator(".question").nth(1)).to_have_text("second")


def test_conversations_stay_and_can_be_deleted(page: Page, served: Served) -> None:
    send(page, BEADS)
    done(page)
    page.click("#new")
    send(page, CUPS)
    done(page)
    page.reload()
    entries = page.locator("#conversations .open")
    expect(entries).to_have_text([CUPS, BEADS])
    entries.nth(1).click()
    expect(page.locator(".answer")).to_have_text("13")
    page.get_by_label(f"Delete “{BEADS}”").click()
    expect(entries).to_have_text([CUPS])
    expect(page.locator(".welcome")).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#forget-all")
    expect(entries).to_have_count(0)
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('conversation'))") == []


def test_what_is_kept_has_a_bound(page: Page) -> None:
    page.evaluate(
        """() => {
          const turn = {id: 't', parent: null, question: 'x'.repeat(90000), samples: [], settings: {}, chosen: 0};
          for (let n = 0; n < 30; n++) localStorage.setItem('thinkaloud.1.conversation.c' + n,
            JSON.stringify({id: 'c' + n, title: 'c' + n, changed: n, selected: {}, turns: [turn]}));
          localStorage.setItem('thinkaloud.1.conversation.broken', '{');
        }"""
    )
    send(page, BEADS)
    done(page)
    kept = page.evaluate(
        """Object.entries(localStorage).filter(([key]) => key.includes('conversation.c'))
          .map(([key, text]) => [key, text.length])"""
    )
    assert sum(size for _, size in kept) < 2_000_000
    names = {key.split(".")[-1] for key, _ in kept}
    assert "c29" in names and "c0" not in names and len(names) > 15


def test_a_conversation_is_exported(page: Page, tmp_path: Path) -> None:
    send(page, BEADS)
    done(page)
    for label, kind in (("Markdown", "md"), ("JSON", "json")):
        page.click("#export summary")
        with page.expect_download() as event:
            page.get_by_role("button", name=label).click()
        event.value.save_as(tmp_path / f"talk.{kind}")
        assert event.value.suggested_filename == f"mia-has-7-beads-finds-3-loses-2-buys-5-how-many.{kind}"
    text = (tmp_path / "talk.md").read_text()
    assert f"## {BEADS}" in text and "```text\n7 + 3 = 10\n" in text and "\n13\n" in text
    talk = json.loads((tmp_path / "talk.json").read_text())
    assert talk["version"] == 1 and talk["turns"][0]["samples"][0]["answer"] == "13"


def test_markdown_mathematics_and_code_are_shown_and_copied(page: Page) -> None:
    send(page, "rich")
    done(page)
    answer = page.locator(".answer")
    expect(answer.locator("strong")).to_have_text("13 beads")
    expect(answer.locator(".katex-display")).to_have_count(1)
    expect(answer.locator(".math")).to_have_count(2)
    expect(answer.locator(".hljs-keyword").first).to_have_text("def")
    expect(answer.locator("td")).to_have_count(4)
    expect(answer.locator("a")).to_have_attribute("rel", "noopener noreferrer")
    page.get_by_label("Copy the code").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("def beads(")
    page.get_by_label("Copy the answer").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("So it is **13 beads**")


def test_no_reply_can_run_fetch_or_restyle_anything(page: Page, served: Served) -> None:
    for number, attack in enumerate(ATTACKS, 1):
        send(page, f"show {attack}")
        done(page, number)
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    answers = page.locator(".answer")
    forbidden = "script, img, iframe, object, svg[onload], style, link, base, meta, form, input, button[name], details"
    assert answers.locator(forbidden).count() == 0
    assert page.locator(".thought b").count() == 0
    found = page.evaluate(
        """[...document.querySelectorAll('.answer *')].flatMap(element => [...element.attributes]
        .filter(one => one.name.startsWith('on') || one.name === 'id'
          || /^\\s*(javascript|data|vbscript):/i.test(one.value))
        .map(one => `${element.tagName} ${one.name}=${one.value}`))"""
    )
    assert found == []
    hrefs = page.evaluate("[...document.querySelectorAll('.answer a')].map(link => link.getAttribute('href'))")
    assert all(href is None or href.startswith(("http://", "https://", "mailto:")) for href in hrefs)
    for link in page.locator(".answer a:not([href])").all()[:3]:
        link.click(timeout=2000)
    assert page.evaluate("window.hacked") is None
    assert page.url == f"{served.url}/"
    page.reload()
    page.locator("#conversations .open").first.click()
    done(page, len(ATTACKS))
    assert page.evaluate("window.hacked") is None


def test_errors_are_words_that_say_what_to_do(page: Page, served: Served) -> None:
    fault = page.locator(".fault p")
    for number, (question, words) in enumerate(
        {
            "refuse": "shorten it",
            "busy": "Try again in 3 seconds",
            "break": "the engine fell over",
        }.items(),
        1,
    ):
        send(page, question)
        done(page, number)
        expect(fault.last).to_contain_text(re.compile(words, re.IGNORECASE))
    before = len(served.asked)
    page.get_by_role("button", name="Try again").last.click()
    done(page, 3)
    assert len(served.asked) == before + 1
    served.end()
    send(page, BEADS)
    expect(fault.last).to_contain_text("The server does not answer. See whether")


def test_a_key_is_asked_for(browser: Browser, tmp_path: Path) -> None:
    server = Served(tmp_path, key="secret")
    page = browser.new_page()
    page.goto(server.url)
    for key in ("wrong", "secret"):
        page.fill("#key-field", key)
        page.keyboard.press("Enter")
    send(page, BEADS)
    done(page)
    expect(page.locator(".answer")).to_have_text("13")
    assert page.evaluate("JSON.stringify(localStorage)").find("secret") < 0
    page.close()
    server.end()


def test_a_model_of_single_questions_is_asked_each_alone(browser: Browser, tmp_path: Path) -> None:
    server = Served(tmp_path, turns=1)
    page = browser.new_page()
    page.goto(server.url)
    expect(page.locator(".note")).to_contain_text("single questions")
    page.locator(".example").first.click()
    done(page)
    send(page, CUPS)
    done(page, 2)
    assert [len(asked["messages"]) for asked in server.asked] == [1, 1]
    assert server.asked[0]["messages"][0]["content"] == BEADS
    page.close()
    server.end()


def test_a_model_is_asked_with_the_words_it_was_trained_with(browser: Browser, tmp_path: Path) -> None:
    server = Served(tmp_path, instruction="Box the answer.")
    page = browser.new_page()
    page.goto(server.url)
    expect(page.locator(".note")).to_contain_text("Box the answer.")
    send(page, CUPS)
    done(page)
    expect(page.locator(".question")).not_to_contain_text("Box")
    send(page, f"{BEADS} Box the answer.")
    done(page, 2)
    said = [[one["content"] for one in asked["messages"] if one["role"] == "user"] for asked in server.asked]
    assert said == [[f"{CUPS}\n\nBox the answer."], [f"{CUPS}\n\nBox the answer.", f"{BEADS} Box the answer."]]
    page.close()
    server.end()


def test_all_of_it_goes_by_keys_alone(page: Page, served: Served) -> None:
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    done(page)
    assert served.asked[0]["messages"][0]["content"] == "one\ntwo"
    reached: set[str] = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name, ring = page.evaluate(
            """() => { const at = document.activeElement; const style = getComputedStyle(at);
            const shown = at.matches('.segments input') ? getComputedStyle(at.nextElementSibling) : style;
            return [at.getAttribute('aria-label') || at.textContent.trim() || at.dataset.setting || at.value || at.id,
            at.tagName === 'BODY' || at.id === 'question' || shown.outlineStyle !== 'none']; }"""
        )
        assert ring, f"the focus does not show on {name}"
        reached.add(name)
    wanted = {"New conversation", "Training runs", "Delete all", "Export", "Light or dark", "Keys", "Copy the answer"}
    assert wanted | {"Edit", "Again", "budget", "verify", "More", "Ask", "medium"} <= reached
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.press("Alt+r")
    done(page)
    expect(page.locator(".place")).to_have_text("2/2")
    page.keyboard.press("Alt+e")
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+n")
    expect(page.locator(".welcome")).to_be_visible()
    assert (
        page.locator("button:visible, input:visible, select:visible, textarea:visible, a:visible").evaluate_all(
            """all => all.filter(one => !(one.textContent.trim() || one.ariaLabel || one.labels?.length || one.title))
        .map(one => one.outerHTML)"""
        )
        == []
    )


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 720})

    def overflow() -> int:
        return page.evaluate("document.documentElement.scrollWidth - innerWidth")

    assert overflow() <= 0
    send(page, "long")
    expect(page.locator("#steer")).to_be_visible()
    assert overflow() <= 0
    page.keyboard.press("Escape")
    done(page)
    page.select_option("[data-setting=samples]", "4")
    send(page, "rich")
    done(page, 2)
    assert overflow() <= 0
    inside = "(() => { const talk = document.getElementById('talk'); return talk.scrollWidth - talk.clientWidth; })()"
    assert page.evaluate(inside) <= 0
    expect(page.locator("#sidebar")).to_be_hidden()
    page.click("#menu")
    expect(page.locator("#conversations .open")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#sidebar")).to_be_hidden()


def test_light_and_dark_follow_the_system_and_the_switch(page: Page) -> None:
    def ground() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.emulate_media(color_scheme="light")
    light = ground()
    page.emulate_media(color_scheme="dark")
    dark = ground()
    assert light != dark
    page.click("#scheme")
    assert ground() == light
    page.reload()
    assert ground() == light


def test_training_runs_are_watched_as_they_grow(context: BrowserContext, served: Served, tmp_path: Path) -> None:
    fill(tmp_path / "runs")
    page = context.new_page()
    page.goto(f"{served.url}/runs")
    expect(page.locator(".list b")).to_have_text(["runs/small", "runs/study/seeds/1"])
    page.locator(".list a").first.click()
    expect(page.locator("figure")).to_have_count(4)
    expect(page.locator("figure").first.locator("svg")).to_have_attribute(
        "aria-label", re.compile("think from 0.5 to 0.5")
    )
    expect(page.locator("tbody tr")).to_have_count(3)
    fold = page.locator(".fold").first
    expect(fold.locator("summary")).to_contain_text("✗ 2")
    fold.locator("summary").click()
    expect(fold.locator(".told")).to_have_count(4)
    page.get_by_label("Verdict").select_option("wrong")
    expect(page.locator(".pager").first).to_contain_text("1 of 2, 12 problems")
    page.get_by_label("The page after").first.click()
    expect(page.locator(".fold")).to_have_count(2)
    expect(page.locator("article .told")).to_have_count(6)
    expect(page.locator("article").first).to_contain_text("question 2")
    curve = page.locator("figure").nth(1).locator("path")
    before = curve.get_attribute("d")
    lines(tmp_path / "runs/small/checkpoints/think_rl/metrics.jsonl", metrics("think_rl", 1000, reward=1.0)[900:])
    expect(curve).not_to_have_attribute("d", before or "")
    expect(page.locator(".fold")).to_have_count(2)
    page.set_viewport_size({"width": 360, "height": 720})
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.goto(f"{served.url}/runs#no-such-run")
    page.reload()
    expect(page.locator(".fault")).to_contain_text("thinkaloud serve --runs")


def test_the_headers_let_nothing_else_in(page: Page, served: Served) -> None:
    response = page.request.get(served.url)
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    for name in ("/../pages.py", "/assets/..%2f..%2fpages.py", "/assets/../index.html.py", "/%2e%2e/pages.py"):
        assert page.request.get(served.url + name).status == 404
    text = (BUILT / "index.html").read_text() + (BUILT / "runs.html").read_text()
    assert not re.search(r"<script(?! [^>]*src=)|<style|style=|https?://", text)


def test_the_sources_pass_the_type_checker_and_build(tmp_path: Path) -> None:
    root = Path(__file__).parents[1] / "page"
    if shutil.which("node") is None or not (root / "node_modules").exists():
        pytest.skip("there is no node, or its packages are not here: make page")
    subprocess.run(["node", "node_modules/typescript/bin/tsc", "--noEmit"], cwd=root, check=True)
    built = [sys.executable, str(root / "build.py"), "--unless-built"]
    assert subprocess.run(built, env=os.environ, capture_output=True, text=True).stdout == ""
