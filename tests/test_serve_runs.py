"""Run folders over HTTP, and the page's files: what is told, what can't be reached, what a run under way shows."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from thinkaloud.base.errors import UserError
from thinkaloud.reports import watch
from thinkaloud.serve.pages import page_router
from thinkaloud.serve.runs import runs_router
from watched_runs import RECIPE, fill, rollout


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    fill(tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def client(runs: Path) -> TestClient:
    app = FastAPI()
    app.include_router(runs_router(runs))
    return TestClient(app)


def test_runs_are_listed_wherever_they_lie(client: TestClient, runs: Path) -> None:
    old = time.time() - 3600
    os.utime(runs / "study/seeds/1/recipe.toml", (old, old))
    small, seed = client.get("/api/runs").json()
    assert (small["name"], small["finished"], small["live"]) == ("small", False, True)
    assert (seed["name"], seed["finished"], seed["live"]) == ("study/seeds/1", False, False)
    assert [(one["name"], one["done"], one["progress"]) for one in small["stages"]] == [
        ("think", True, 1.0),
        ("think_rl", False, 0.9),
        ("later", False, 0.0),
    ]
    (runs / "small" / "summary.json").write_text("{}")
    assert client.get("/api/runs").json()[0]["finished"] is True


def test_a_damaged_run_hides_no_other(client: TestClient, runs: Path) -> None:
    journal = runs / "small/checkpoints/think/metrics.jsonl"
    journal.write_text('{"step":\n' + journal.read_text())
    assert {one["name"] for one in client.get("/api/runs").json()} == {"small", "study/seeds/1"}
    with pytest.raises(UserError, match="line 1 is damaged"):
        client.get("/api/runs/small")


def test_a_run_shows_curves_and_results(client: TestClient) -> None:
    run = client.get("/api/runs/small").json()
    curves = {name: curve["stages"] for name, curve in run["curves"].items()}
    assert curves["dev_accuracy"] == {"think": [[0.5, 1, 0.5], [1.0, 2, 0.5]]}
    assert curves["thinking_tokens"]["think"][0][2] == 7.0
    points = curves["reward"]["think_rl"]
    assert len(points) <= watch.MOST_POINTS + 1 and points[0][1] == 1 and points[-1][1] == 900
    assert [(one["model"], one["accuracy"]) for one in run["results"]] == [("think", 1 / 3), ("think_rl", 2 / 3)]
    assert client.get("/api/runs/study/seeds/1").json()["curves"]["reward"]["stages"] == {}


def test_replies_come_by_problem_and_page(client: TestClient) -> None:
    def page(**query: Any) -> dict[str, Any]:
        answer = client.get("/api/runs/small/rollouts", params={"stage": "think_rl", **query})
        assert answer.status_code == 200
        return answer.json()

    first, second = page(), page(page=1)
    assert first["total"] == 13 and first["families"] == ["chains", "cups"]
    assert [len(one["problems"]) for one in (first, second, page(page=2))] == [10, 3, 0]
    assert first["problems"][0]["counts"] == {"right": 1, "wrong": 2, "ungradable": 1}
    assert [one["question"] for one in first["problems"][:2]] == ["Who?", None]
    wrong = page(verdict="wrong", family="chains", problem="-11")["problems"]
    assert [reply["verdict"] for reply in wrong[0]["replies"]] == ["wrong", "wrong"]
    (cups,) = page(family="cups")["problems"]
    assert cups["matching"] == 40 and len(cups["replies"]) == 16


def test_replies_that_come_later_are_seen_and_half_written_ones_wait(client: TestClient, runs: Path) -> None:
    journal = runs / "small/checkpoints/think_rl/rollouts.jsonl"

    def total() -> int:
        return client.get("/api/runs/small/rollouts", params={"stage": "think_rl"}).json()["total"]

    assert total() == 13
    row = json.dumps(rollout(3, "pairs-0", "right")) + "\n"
    with journal.open("a") as file:
        file.write(row[:20])
    assert total() == 13
    with journal.open("a") as file:
        file.write(row[20:])
    assert total() == 14
    os.truncate(journal, journal.read_bytes().index(b"\n") + 1)
    assert total() == 1
    assert client.get("/api/runs/small/rollouts", params={"stage": "think"}).json()["total"] == 0


def test_before_stands_beside_after_with_changes_first(client: TestClient) -> None:
    shown = client.get("/api/runs/small/compared").json()
    assert (shown["before"], shown["after"], shown["total"]) == ("think", "think_rl", 3)
    assert [(one["id"], one["before"]["right"], one["after"]["right"]) for one in shown["problems"]] == [
        ("chains-2", False, True),
        ("chains-0", False, False),
        ("chains-1", True, True),
    ]
    assert shown["problems"][0]["after"]["thinking"] == "think_rl thinks"
    other = client.get("/api/runs/small/compared", params={"before": "../../secret"}).json()
    assert other["problems"] == [] and client.get("/api/runs/study/seeds/1/compared").json()["models"] == []


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../secret",
        "..%2fsecret",
        "%2e%2e/secret",
        "small/../../secret",
        "small/checkpoints",
        "notes",
        "/etc",
        "a\0b",
    ],
)
def test_no_name_leads_out_of_the_folder(client: TestClient, runs: Path, name: str) -> None:
    secret = runs.parent / "secret"
    secret.mkdir()
    (secret / "recipe.toml").write_text(RECIPE)
    for tail in ("", "/rollouts?stage=think_rl", "/compared"):
        answer = client.get(f"/api/runs/{name}{tail}".replace("\0", "%00"))
        assert answer.status_code == 404 or answer.json() == client.get("/api/runs").json()


def test_a_stage_is_one_of_the_runs_own_and_links_are_not_followed(client: TestClient, runs: Path) -> None:
    for stage in ("..", "../../../secret", "later/../think_rl", ""):
        assert client.get("/api/runs/small/rollouts", params={"stage": stage}).status_code == 404
    assert client.get("/api/runs/small/rollouts", params={"stage": "think_rl", "page": -1}).status_code == 422
    secret = runs.parent / "secret"
    secret.mkdir()
    (secret / "recipe.toml").write_text(RECIPE)
    (runs / "link").symlink_to(secret)
    assert "link" not in {one["name"] for one in client.get("/api/runs").json()}


def test_nothing_can_be_changed(client: TestClient) -> None:
    for method in ("post", "put", "patch", "delete"):
        assert getattr(client, method)("/api/runs/small").status_code == 405


def test_no_runs_are_an_empty_list(tmp_path: Path) -> None:
    assert watch.runs_under(tmp_path / "none") == {}
    (tmp_path / "recipe.toml").write_text("no [toml")
    assert watch.overview("x", tmp_path)["stages"] == []


# --- the page's files ---


def served(folder: Path) -> TestClient:
    app = FastAPI()
    app.include_router(page_router(folder))
    return TestClient(app)


def test_the_page_is_served_with_headers_that_let_nothing_in(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    for name in ("index.html", "runs.html", "theme.js", "assets/chat-1.js", "secret.txt"):
        (tmp_path / name).write_text(name)
    client = served(tmp_path)
    for path, name in {"/": "index.html", "/runs": "runs.html", "/theme.js": "theme.js"}.items():
        answer = client.get(path)
        assert answer.text == name and answer.headers["cache-control"] == "no-cache"
        assert re.match(r"default-src 'self';", answer.headers["content-security-policy"])
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert "immutable" in client.get("/assets/chat-1.js").headers["cache-control"]
    for path in ("/secret.txt", "/assets/..%2fsecret.txt", "/assets/none.js", "/index.html.js", "/..%2fx.js"):
        assert client.get(path).status_code == 404


def test_a_page_that_is_not_built_says_how(tmp_path: Path) -> None:
    answer = served(tmp_path / "none").get("/")
    assert answer.status_code == 503 and "make page" in answer.text
