"""YAML to typed, frozen settings: defaults < file < `key.path=value`, with every error reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from radfoundry.records import InputError


class Settings(BaseModel):
    """The base of every stage's Config: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Component(BaseModel):
    """A named part with its options, written `{name: masked, mask_ratio: 0.6}` or just `masked`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


Model = TypeVar("Model", bound=BaseModel)


def load(
    model: type[Model],
    source: str | Path | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    where: str = "",
) -> Model:
    """Read settings from a YAML file or a mapping, apply `key.path=value` words, and check them all.

    Refuses unknown keys, wrong types and values out of range: one InputError lists every problem with
    its path, its message, the value given, and the nearest known key.
    """
    values, origin = _read(source)
    for word in overrides:
        _apply(values, word)
    return check(model, values, where=where or origin)


def check(model: type[Model], values: Mapping[str, Any], *, where: str = "") -> Model:
    """Validate a mapping against a model; all problems in one error."""
    try:
        return model.model_validate(_expand_components(model, values))
    except ValidationError as error:
        lines = [_explain(model, problem) for problem in error.errors(include_url=False)]
        raise InputError(
            "; ".join(lines), where=where or "settings", remedy=f"{len(lines)} to mend", finding="settings"
        ) from None


def _read(source: str | Path | Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
    if source is None:
        return {}, ""
    if isinstance(source, Mapping):
        return dict(source), ""
    path = Path(source)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), remedy="check the path", finding="missing-file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        raise InputError(f"not valid YAML: {detail}", where=str(path), finding="not-yaml") from None
    if values is None:
        return {}, str(path)
    if not isinstance(values, dict):
        raise InputError("expected key: value pairs", where=str(path), remedy="see docs/configuration.md")
    return values, str(path)


def _apply(values: dict[str, Any], word: str) -> None:
    path, sign, text = word.partition("=")
    if not sign or not path:
        raise InputError(f"{word!r} is not key.path=value", remedy="write for example seed=3", finding="override")
    *parents, last = path.split(".")
    place = values
    for key in parents:
        inner = place.get(key)
        inner = {"name": inner} if isinstance(inner, str) else dict(inner) if isinstance(inner, Mapping) else {}
        place[key] = inner
        place = inner
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        place[last] = text


def _expand_components(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """A component given by its bare name becomes `{name: …}`, so that both spellings mean the same."""
    expanded = dict(values)
    for name, item in model.model_fields.items():
        if item.annotation in (Component, Component | None) and isinstance(expanded.get(name), str):
            expanded[name] = {"name": expanded[name]}
        elif item.annotation in (list[Component], tuple[Component, ...]) and isinstance(expanded.get(name), list):
            expanded[name] = [{"name": part} if isinstance(part, str) else part for part in expanded[name]]
    return expanded


def _explain(model: type[BaseModel], problem: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in problem["loc"]) or "settings"
    if problem["type"] == "extra_forbidden":
        known = sorted(_inner(model, problem["loc"][:-1]).model_fields)
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"{path}: unknown key ({hint})"
    if problem["type"] == "missing":
        beside = f" (write {path.removesuffix('.name')}=NAME beside its options)" if path.endswith(".name") else ""
        return f"{path}: is required{beside}"
    given = repr(problem.get("input"))
    return f"{path}: {problem['msg'].lower()} (got {given[:80]})"


def _inner(model: type[BaseModel], path: Sequence[Any]) -> type[BaseModel]:
    """The settings that a path leads to, through lists and options; the outermost known ones where it leads nowhere."""
    for step in path:
        if isinstance(step, str) and step in model.model_fields:
            parts = [model.model_fields[step].annotation]
            while parts and not (isinstance(parts[0], type) and issubclass(parts[0], BaseModel)):
                parts = [*get_args(parts[0]), *parts[1:]]
            model = parts[0] if parts else model  # ty: ignore[invalid-assignment]
    return model
