"""A converted file opened by llama.cpp: conversations in, ids of prompts and of greedy replies out."""

import json
import sys

from llama_cpp import Llama
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

asked = json.load(sys.stdin)
model = Llama(asked["folder"], n_ctx=512, n_threads=1, verbose=False)
names = {
    name: model.detokenize([token], special=True).decode()
    for name, token in (("eos_token", model.token_eos()), ("bos_token", model.token_bos()))
    if token >= 0
}
template = Jinja2ChatFormatter(template=model.metadata["tokenizer.chat_template"], **({"bos_token": ""} | names))
prompts, replies = [], []
for question in asked["questions"]:
    text = template(messages=[{"role": "user", "content": question}]).prompt
    ids = model.tokenize(text.encode(), add_bos=False, special=True)
    reply: list[int] = []
    model.reset()
    for token in model.generate(ids, temp=0.0, top_k=1):
        reply.append(token)
        if token == model.token_eos() or len(reply) == asked["tokens"]:
            break
    prompts.append(ids)
    replies.append(reply)
print(json.dumps({"prompts": prompts, "replies": replies}))
