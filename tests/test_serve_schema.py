"""Bodies made up from the server's own schema, right ones and wrong ones: none may break it."""

from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from serving import Live, random_model
from thinkaloud.inference import load
from thinkaloud.serve.line import Limits
from thinkaloud.serve.opening import own

ALONE = {"/v1/models", "/health", "/metrics"}
"Paths that take nothing: there is one case of each."
PATHS = {"/v1/chat/completions", "/v1/chat/completions/control", "/v1/responses", "/v1/responses/{identifier}"}
PATHS |= {"/v1/completions", "/v1/models/{name}", *ALONE}
FEW, MANY = 15, 800
"Cases for each of the seven operations that take something."
SECONDS = 120
"For one answer: the machine may be busy."
LIMITS = Limits(max_tokens=4, choices=2, queue=10_000)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live(own(load(random_model(tmp_path_factory.mktemp("random"))), "random", limits=LIMITS)) as one:
        yield one
        assert one.idle()
        assert httpx2.get(one.root + "/health").json() == {
            "status": "ok",
            "model": "random",
            "waiting": 0,
            "running": 0,
        }


def try_out(live: Live, examples: int, only: str | None = None) -> Counter[str]:
    """So many cases for each operation, or those of one path; how many it were, by path."""
    schema = schemathesis.openapi.from_url(live.root + "/openapi.json", timeout=SECONDS)
    tried = Counter[str]()
    for result in schema.get_all_operations():
        operation = result.ok()
        if only not in (None, operation.path):
            continue

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def one(case: schemathesis.Case) -> None:
            tried[case.operation.path] += 1
            response = case.call(timeout=SECONDS)
            assert response.status_code < 500, response.text
            if response.status_code >= 400:
                assert set(response.json()["error"]) == {"message", "type", "param", "code"}

        one()
    return tried


def test_no_body_breaks_it(live: Live) -> None:
    assert set(try_out(live, FEW)) == PATHS


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(PATHS))
def test_no_body_of_many_breaks_it(live: Live, path: str) -> None:
    tried = try_out(live, MANY, path)
    assert set(tried) == {path} and tried[path] >= (1 if path in ALONE else MANY)
