"""An exported folder opened by vLLM on a CPU: conversations in, ids of prompts and of greedy replies out."""

import json
import os
import sys

os.environ |= {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


def main() -> None:
    """Read, ask, print."""
    from vllm import LLM, SamplingParams  # it reads the environment when it is imported

    asked = json.load(sys.stdin)
    model = LLM(asked["folder"], dtype="float32", enforce_eager=True)
    how = SamplingParams(temperature=0.0, max_tokens=asked["tokens"])
    conversations = [[{"role": "user", "content": question}] for question in asked["questions"]]
    switch = {"enable_thinking": True}  # where a template has it
    done = model.chat(conversations, how, use_tqdm=False, chat_template_kwargs=switch)
    replies = [list(one.outputs[0].token_ids) for one in done]
    print(json.dumps({"prompts": [one.prompt_token_ids for one in done], "replies": replies}))


if __name__ == "__main__":  # it starts itself again
    main()
