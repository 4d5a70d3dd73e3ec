"""What the site has besides the pages in this folder: the settings of a recipe, and pages that the navigation forgot.

`mkdocs.yml` names this file as its hook. SETTINGS.md is made from the schema at every build, so that it can't go stale:
a key, its default, and the string that stands under it in the source.
"""

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

from thinkaloud.base.config import Settings
from thinkaloud.train.recipe import Recipe

SETTINGS = "SETTINGS.md"
INTRODUCTION = """# The settings of a recipe

A recipe is a TOML file; `thinkaloud train RECIPE section.key=value` changes a setting of it for one run. A key that is
not below is an error that names the nearest one. What a setting does to the learning stands in the pages on
[your own problems](TRAINING.md), [the published recipes](RECIPES.md) and [data](DATA.md); `recipes/` holds whole ones.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of settings, and to the navigation what is in the folder and not yet in it."""
    files.append(File.generated(config, SETTINGS, content=settings_page()))
    named = json.dumps(config.nav)
    others = sorted(f.src_uri for f in files.documentation_pages() if json.dumps(f.src_uri) not in named)
    if others and config.nav is not None:
        config.nav.append({"More": others})
    return files


def settings_page() -> str:
    """The page: a section for each table of a recipe, in the order in which the schema names them."""
    parts, waiting, done = [INTRODUCTION], [("", Recipe)], set()
    while waiting:
        path, schema = waiting.pop(0)
        if (path, schema) in done:
            continue
        done.add((path, schema))
        parts.append(section(path, schema))
        for name, field in schema.model_fields.items():
            inner = f"{path}.{name}" if path else name
            waiting += tables(inner, field.annotation)
    return "\n".join(parts)


def tables(path: str, annotation: Any) -> list[tuple[str, type[Settings]]]:
    """The tables of a recipe that a field may hold, each with the name of its place."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(path, annotation)]
    found = []
    for part in get_args(annotation):
        named = get_origin(annotation) is dict
        if not (named and part is str):
            found += tables(f"{path}.NAME" if named else path, part)
    return found


def section(path: str, schema: type[Settings]) -> str:
    """One table of a recipe: what it is, its keys."""
    kind = get_args(schema.model_fields["kind"].annotation) if "kind" in schema.model_fields else ()
    heading = f"[{path}]" if path else "The tables"
    heading += f" of kind {kind[0]}" if kind else ""
    rows = []
    for name, field in schema.model_fields.items():
        default = "" if field.is_required() else shown(field.get_default(call_default_factory=True))
        meaning = (field.description or "").replace("|", "\\|").replace("\n", " ")
        rows.append(f"| `{name}` | {written(field.annotation)} | {default} | {meaning} |")
    table = ["| key | type | default | |", "|---|---|---|---|", *rows]
    return "\n".join([f"## `{heading}`", "", (schema.__doc__ or "").strip(), "", *table, ""])


def shown(value: Any) -> str:
    """A default as a recipe would write it; tables have sections of their own."""
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "its defaults"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def written(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return written(inner[0])
    if origin in (Union, UnionType):
        kinds = [one for one in inner if one is not NoneType]
        return "table" if all(isinstance(k, type) and issubclass(k, BaseModel) for k in kinds) else joined(kinds)
    if origin is list:
        return f"list of {written(inner[0])}"
    if origin is dict:
        return "table"
    if origin is not None:  # Literal
        return ", ".join(f"`{one}`" for one in inner)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path"}.get(
        getattr(annotation, "__name__", ""), "anything"
    )


def joined(kinds: list[Any]) -> str:
    """Several types."""
    return " or ".join(dict.fromkeys(map(written, kinds)))
