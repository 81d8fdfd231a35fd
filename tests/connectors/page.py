"""The part of a connector's documentation that its own declarations write."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.connector.failures import DEFAULT_FAILURES

__all__ = ["reference"]


def reference(*models: type[BaseModel], speaks_http: bool) -> str:
    """Return the Markdown tables of every setting below the models, and of what a failure over HTTP means."""
    sections = "\n\n".join(_table(title, each) for model in models for title, each in _models("", model))
    return f"{sections}\n\n{_failures()}" if speaks_http else f"{sections}\n"


def _failures() -> str:
    statuses: dict[str, list[str]] = {}
    for status, action in DEFAULT_FAILURES.items():
        statuses.setdefault(action.value, []).append(f"`{status}`")
    failures = "\n".join(f"| {', '.join(each)} | `{action}` |" for action, each in statuses.items())
    return f"### What a failure means\n\n| status | the call's error |\n|---|---|\n{failures}\n"


def _models(title: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield title, model
    for name, info in model.model_fields.items():
        for inner in dict.fromkeys(_inside(info.annotation)):
            yield from _models(f"{title}.{_shown(name, info)}".strip("."), inner)


def _inside(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    elif get_origin(kind) in {Annotated, Union, UnionType, tuple} or get_args(kind):
        for part in get_args(kind):
            yield from _inside(part)


def _shown(name: str, info: FieldInfo) -> str:
    return info.alias or name


def _table(title: str, model: type[BaseModel]) -> str:
    kind = model.model_fields["type"].annotation if "type" in model.model_fields else None
    which = f", `type: {get_args(kind)[0]}`" if get_origin(kind) is Literal else ""
    heading = f"### `{title}`{which}\n\n" if title else "### Settings\n\n"
    said = (model.__doc__ or "").strip().splitlines()[0]
    rows = "\n".join(
        f"| `{_shown(name, info)}`{' (required)' if info.is_required() else ''} | {_plain(info.description or '')} |"
        for name, info in model.model_fields.items()
    )
    return f"{heading}{said}\n\n| key | what it says |\n|---|---|\n{rows}"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
