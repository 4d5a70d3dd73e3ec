"""Where a model lies: the bundled one, a folder, or a name on the Hugging Face hub, which is fetched once and kept.

Knows: how a model is named, which of its files are wanted. Does not know: what is in a checkpoint.
"""

import re
from pathlib import Path

from thinkaloud.base.errors import UserError

BUNDLED = Path(__file__).parent.parent / "bundled"
"The model in the package."

FILES = ["*.safetensors", "*.json", "*.jinja"]
"What of a repository is fetched: weights, configuration, tokenizer, template; no pickles, no code."

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


def locate(path: str | Path | None, *, offline: bool = False) -> Path:
    """The folder with the checkpoint's `config.json`, fetched from the hub where `path` names a model there.

    None is the bundled model, a run's folder stands for its `model`, and a string such as "Qwen/QwQ-32B", or
    "Qwen/QwQ-32B@REVISION", that is no folder names a model on the hub. A download that broke off goes on, file by
    file; `offline` (or HF_HUB_OFFLINE=1 in the environment) takes what was fetched before. Raises UserError.
    """
    folder = BUNDLED if path is None else Path(path)
    if folder.is_dir():
        return folder / "model" if (folder / "model" / "config.json").exists() else folder
    if not isinstance(path, str) or not _NAME.fullmatch(path) or Path(path).parent.is_dir():
        raise UserError(
            f"{folder} is not a folder: give a run's folder, one that holds a checkpoint, or a model's name on the hub "
            "such as Qwen/QwQ-32B"
        )
    from thinkaloud.base.hub import fetch  # only here: a folder needs no client of the hub

    name, _, revision = path.partition("@")
    return fetch(name, FILES, revision=revision or None, offline=offline)
