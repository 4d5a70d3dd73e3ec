"""A reasoning model that one person can own: train it, run it, trust it.

The public names live in the rooms below and are imported when first used, so that `import thinkaloud` costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "load": "thinkaloud.inference",
    "ReasoningModel": "thinkaloud.inference",
    "Reply": "thinkaloud.inference",
    "Message": "thinkaloud.text",
    "UserError": "thinkaloud.base.errors",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'thinkaloud' has no attribute {name!r}; public names: {', '.join(__all__)}")
