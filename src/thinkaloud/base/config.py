"""Recipes: TOML files checked against a schema, with `section.key=value` overrides.

Knows how a setting is read and what is said when it is wrong; the schemas stand in the rooms that read them.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from thinkaloud.base.errors import UserError, told


class Settings(BaseModel):
    """Base of every schema: frozen, unknown keys refused, the string under a field is its help text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


SettingsT = TypeVar("SettingsT", bound=Settings)


def load_settings(schema: type[SettingsT], path: Path, overrides: Sequence[str] = ()) -> SettingsT:
    """Read the TOML file `path`, apply overrides such as `run.seed=2`, check it against `schema`.

    Raises UserError for an unreadable file, a malformed override, an unknown key (naming the nearest known one) or a
    wrong value.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"recipe {path} does not exist: check the path, or start from one in recipes/") from None
    except UnicodeDecodeError as error:
        raise UserError(f"recipe {path} cannot be read as text ({error}): give a TOML file") from None
    except OSError as error:
        raise UserError(f"the recipe cannot be read: {told(error) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"recipe {path} is not valid TOML: {error}") from None
    for override in overrides:
        _apply(raw, override)
    return parse_settings(schema, raw, str(path))


def parse_settings(schema: type[SettingsT], raw: dict[str, Any], source: str) -> SettingsT:
    """Check `raw` against `schema`; `source` names it in errors."""
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(schema, error)}") from None


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    path = _parts(key) if equals else []
    if not path:
        raise UserError(f"override {override!r} is not of the form section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, last = path
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise UserError(f"override {override!r}: {section} is a value, not a section")
    raw[last] = value


def _parts(key: str) -> list[str]:
    """The names of a dotted key, a name with dots in quotes: stages."chains.start".budget; none where it is no key."""
    try:
        table: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return []
    path: list[str] = []
    while isinstance(table, dict):
        ((name, table),) = table.items()
        path.append(name)
    return path


def _explain(schema: type[BaseModel], error: ValidationError) -> str:
    """The first fault in one line."""
    fault = error.errors()[0]
    path, known = _walk(schema, [str(part) for part in fault["loc"]])
    name = ".".join(path)
    if fault["type"] != "extra_forbidden":
        return f"{name}: {fault['msg'][:1].lower()}{fault['msg'][1:]} (given: {fault.get('input')!r})"
    nearest = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.0)
    hint = f"; did you mean {'.'.join([*path[:-1], nearest[0]])}?" if nearest else ""
    return f"unknown key {name}{hint}"


def _walk(schema: Any, location: list[str]) -> tuple[list[str], list[str]]:
    """The user's own path of a fault, and the keys known in the section that holds it."""
    path: list[str] = []
    known: list[str] = []
    for part in location:
        if get_origin(schema) in (Union, UnionType):  # a member's name is a part of the location that no user wrote
            members = [one for one in get_args(schema) if one is not NoneType]
            named = [one for one in members if one.__name__ == part]
            schema = (named or members)[0]
            if named and len(members) > 1:
                continue
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            known = list(schema.model_fields)
            field = schema.model_fields.get(part)
            schema = field.annotation if field else None
            if type(None) in get_args(schema):  # a section that may be left out
                schema = next(kind for kind in get_args(schema) if kind is not type(None))
        elif get_origin(schema) is dict:
            schema = get_args(schema)[1]
        elif get_origin(schema) is Annotated:  # a union told apart by `kind`, a part of the location that no user wrote
            kinds = {get_args(m.model_fields["kind"].annotation)[0]: m for m in get_args(get_args(schema)[0])}
            if part in kinds:
                schema = kinds[part]
                continue
        path.append(part)
    return path, known


def to_toml(settings: Settings) -> str:
    """The resolved settings as TOML; None values are left out."""
    lines: list[str] = []
    _write_table(settings.model_dump(mode="json", exclude_none=True), [], lines)
    return "\n".join(lines).strip() + "\n"


def _write_table(table: dict[str, Any], path: list[str], lines: list[str]) -> None:
    if path:
        lines += ["", f"[{'.'.join(map(_toml_key, path))}]"]
    for key, value in table.items():
        if not isinstance(value, dict):
            lines.append(f"{_toml_key(key)} = {_toml_value(value)}")
    for key, value in table.items():
        if isinstance(value, dict):
            _write_table(value, [*path, key], lines)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    return repr(value)
