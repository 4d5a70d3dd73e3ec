"""A converted file opened by llama.cpp's server: conversations in, ids of prompts and of greedy replies out."""

import json
import sys
import urllib.request
from typing import Any

from xllamacpp import CommonParams, Server, ggml_type


def post(address: str, path: str, body: dict[str, Any]) -> Any:
    """What the server says to it."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=600) as response:
        return json.load(response)


def main() -> None:
    """Read, ask, print."""
    asked = json.load(sys.stdin)
    how = CommonParams()
    how.model.path, how.n_ctx, how.n_parallel, how.port = asked["folder"], 512, 1, 0
    how.cache_type_k = how.cache_type_v = ggml_type.GGML_TYPE_F32  # as the weights: greedy ids hang on the last bits
    server = Server(how)
    address = server.listening_address
    prompts, replies = [], []
    for question in asked["questions"]:
        text = post(address, "/apply-template", {"messages": [{"role": "user", "content": question}]})["prompt"]
        ids = post(address, "/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]
        body = {"prompt": ids, "n_predict": asked["tokens"], "temperature": 0.0, "return_tokens": True}
        prompts.append(ids)
        replies.append(post(address, "/completion", body)["tokens"])
    print(json.dumps({"prompts": prompts, "replies": replies}))


if __name__ == "__main__":
    main()
