"""What stands beside weights so that other software opens them: a checkpoint's own files, kept where weights changed.

Knows: the files of a checkpoint. Does not know: how weights are made or written.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from thinkaloud.base.run import write_json
from thinkaloud.inference.defaults import defaults_of, read_json
from thinkaloud.text import ChatTemplate

COPIED = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "generation_config.json"),
)
"Files of a checkpoint that its copies share, where it has them."


def keep_published(source: Path, folder: Path, template: ChatTemplate, dtype: str) -> None:
    """Give the weights in `folder`, stored in `dtype`, the configuration and all else of `source` beside weights."""
    published = read_json(source / "config.json")
    types = [key for key in ("dtype", "torch_dtype") if key in published] or ["torch_dtype"]
    write_json(folder / "config.json", published | dict.fromkeys(types, dtype))
    keep_tokenizer(source, folder, template)


def keep_tokenizer(source: Path, folder: Path, template: ChatTemplate) -> None:
    """The same without config.json; generation_config.json names all ids that end a reply."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    (folder / "chat_template.jinja").write_text(template.source, "utf-8")
    ends = {"eos_token_id": sorted(template.stop_ids)}
    write_json(folder / "generation_config.json", read_json(source / "generation_config.json") | ends)


def misread(source: Path) -> bool:
    """Whether transformers would take another tokenizer than the checkpoint's.

    AutoTokenizer of transformers 5 builds Qwen's for every model of type qwen2, whatever tokenizer_config.json names:
    other rules of splitting over the same vocabulary.
    """
    qwen = read_json(source / "config.json").get("model_type") == "qwen2"
    return qwen and read_json(source / "tokenizer_config.json").get("tokenizer_class") == "PreTrainedTokenizerFast"


def spell_sampling(source: Path, folder: Path, pad_token_id: int) -> None:
    """Write into generation_config.json what `ask` does by default, where the checkpoint's own file is silent.

    transformers has defaults of its own for what a file leaves out, such as the 50 likeliest tokens only.
    """
    ours = defaults_of(source)
    sampling: dict[str, Any] = {"do_sample": ours.temperature > 0, "max_new_tokens": ours.max_tokens}
    if ours.temperature > 0:
        sampling |= {"temperature": ours.temperature, "top_p": ours.top_p, "top_k": ours.top_k}
    file = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    write_json(folder / "generation_config.json", {"pad_token_id": pad_token_id} | sampling | file)
