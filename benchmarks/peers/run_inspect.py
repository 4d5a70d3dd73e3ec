"""inspect-ai asking a server of OpenAI's API: rows in, what was answered and whether it counts as right out."""

import json
import sys

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate

asked = json.load(sys.stdin)
samples = [Sample(id=index, input=row["question"], target=row["answer"]) for index, row in enumerate(asked["rows"])]
config = GenerateConfig(max_tokens=asked["tokens"], temperature=0.0, seed=asked["seed"])
task = Task(dataset=samples, solver=generate(), scorer=match(location="exact"), config=config)
model = get_model("openai-api/local/thinkaloud", base_url=asked["url"], api_key="none")
log = eval(task, model=model, log_dir=asked["logs"], display="none", max_connections=8)[0]
assert log.status == "success", log.error
found = sorted(log.samples, key=lambda one: one.id)
print(json.dumps([(one.output.completion, one.scores["match"].value == "C") for one in found]))
