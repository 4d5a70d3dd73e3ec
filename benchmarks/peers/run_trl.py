"""TRL's GRPOTrainer beside us: what benchmarks/rl.py asks for, on the same weights, problems and verdicts.

Its environment holds TRL; our package comes by PYTHONPATH, for the problems and for the verifier that its reward
function calls in this process. The loss is GRPO as published: advantages over the group's standard deviation, a mean
over each reply, no KL, one update a batch, AdamW at a constant rate.

Of its settings the best of those tried (docs/LOG.md): no gradient checkpointing and no bfloat16, which are its
defaults; all replies in one batch; scaled dot-product attention; transformers' `generate` with its growing cache;
AdamW fused. The job may hold others under "trl", to try them again.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from clock import Clock

SETTINGS: dict[str, Any] = {"attention": "sdpa", "parts": 1, "arguments": {}}
"Attention of the model, parts that a batch is split into for the update, and arguments of GRPOConfig."


def train(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Train as the job says; one row a step with its seconds by phase, models saved where it asks for them."""
    import torch
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM, TrainerCallback, logging
    from trl import GRPOConfig, GRPOTrainer

    from thinkaloud.problems import draw, verify
    from thinkaloud.text import ChatTemplate, Tokenizer

    logging.set_verbosity_error()
    torch.set_num_threads(job["threads"])
    settings = SETTINGS | job.get("trl", {})
    template = ChatTemplate(Tokenizer.load(job["model"]))
    problems = [one for name, count in job["families"].items() for one in draw(name, "train", count, job["seed"])]
    rows = [
        {"prompt": template.prompt_text(one.messages), "verifier": one.verifier, "reference": json.dumps(one.reference)}
        for one in problems
    ]

    def reward(completion_ids: list[list[int]], verifier: list[str], reference: list[str], **_: Any) -> list[float]:
        return [
            verify(kind, answer=template.parse(ids).content, reference=json.loads(answer)).score
            if ids[-1] in template.stop_ids
            else 0.0
            for ids, kind, answer in zip(completion_ids, verifier, reference, strict=True)
        ]

    clock, steps = Clock(), []
    rewards: list[float] = []

    def counted(*args: Any, **how: Any) -> list[float]:
        scores = reward(*args, **how)
        rewards.append(sum(scores) / len(scores))
        return scores

    class Laps(TrainerCallback):
        def on_train_begin(self, *args: Any, **how: Any) -> None:
            clock.skip()

        def on_step_end(self, args: Any, state: Any, control: Any, **how: Any) -> None:
            steps.append({**clock.lap(), "reward": rewards[-1]})
            if state.global_step % job["every"] == 0:
                model.save_pretrained(Path(job["out"]) / str(state.global_step))
                clock.skip()

    model = Qwen2ForCausalLM.from_pretrained(
        job["model"], dtype=torch.float32, attn_implementation=settings["attention"]
    )
    replies = job["problems"] * job["samples"]
    with tempfile.TemporaryDirectory() as folder:
        how = {
            "output_dir": folder,
            "max_steps": job["steps"],
            "per_device_train_batch_size": replies // settings["parts"],
            "gradient_accumulation_steps": settings["parts"],
            "num_generations": job["samples"],
            "max_completion_length": job["max_tokens"],
            "temperature": 1.0,
            "loss_type": "grpo",
            "scale_rewards": "group",
            "beta": 0.0,
            "epsilon": 0.2,
            "learning_rate": job["rate"],
            "lr_scheduler_type": "constant",
            "adam_beta2": 0.95,
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "bf16": False,
            "gradient_checkpointing": False,
            "use_cpu": True,
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "seed": job["seed"],
        }
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=counted,
            args=GRPOConfig(**(how | settings["arguments"])),
            train_dataset=Dataset.from_list(rows),
            processing_class=PreTrainedTokenizerFast.from_pretrained(job["model"], padding_side="left"),
            callbacks=[Laps()],
        )
        trainer.create_optimizer()
        clock.wrap(trainer, "_generate", "rollout")
        clock.wrap(trainer, "_calculate_rewards", "verify")
        clock.wrap(trainer, "_prepare_inputs", "other")
        clock.wrap(trainer, "training_step", "update")
        clock.wrap(trainer.optimizer, "step", "update")
        trainer.train()
    return steps


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    print(json.dumps({"steps": train(json.loads(sys.argv[1]))}), flush=True)
