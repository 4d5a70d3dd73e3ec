"""Bodies made up from the server's own schema, right ones and wrong ones: none may break it."""

from collections.abc import Iterator

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from serving import Live, random_model
from thinkaloud.inference import load
from thinkaloud.serve.line import Limits
from thinkaloud.serve.opening import own

FEW, MANY = 30, 700
"Cases for each of eight operations."
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


@pytest.fixture(scope="module")
def api(live: Live) -> object:
    return schemathesis.openapi.from_url(live.root + "/openapi.json")


schema = schemathesis.pytest.from_fixture("api")
quick = settings(
    max_examples=FEW,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@schema.parametrize()
@quick
def test_no_body_breaks_it(case: schemathesis.Case) -> None:
    response = case.call()
    assert response.status_code < 500, response.text
    assert response.status_code < 400 or set(response.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.slow
@schema.parametrize()
@settings(quick, max_examples=MANY, derandomize=False)
def test_no_body_of_many_breaks_it(case: schemathesis.Case) -> None:
    response = case.call()
    assert response.status_code < 500, response.text
