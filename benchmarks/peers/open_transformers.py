"""An exported folder opened by transformers: conversations in, ids of prompts and of greedy replies out."""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

asked = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(asked["folder"])
model = AutoModelForCausalLM.from_pretrained(asked["folder"]).eval()
prompts, replies = [], []
for question in asked["questions"]:
    messages = [{"role": "user", "content": question}]
    switch = {"enable_thinking": True}  # where a template has it
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False, **switch)
    given = torch.tensor([ids])
    out = model.generate(given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=asked["tokens"])
    prompts.append(ids)
    replies.append(out[0, len(ids) :].tolist())
print(json.dumps({"prompts": prompts, "replies": replies}))
