"""The names of the formats that weights come in, and which of them a part of the model is in. Knows no numbers."""

FORMATS = ("int8", "int4")
"Names of the quantised formats."
ENDS = {"int8": "int8", "int4": "int8"}
"""Format of the embedding and the output head beside each format of the other matrices: 4 bits cost the ends more
accuracy than they save memory (`benchmarks/quantised.py`)."""


def format_of(name: str, format: str) -> str:
    """The format of the matrix called `name` (as published) in a model whose weights are `format`, quantised or not."""
    return ENDS.get(format, format) if name in ("model.embed_tokens.weight", "lm_head.weight") else format
