"""A value that must never be printed."""

import os
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

__all__ = ["Secret"]

_REFERENCE: Final = re.compile(r"\$\{([^}]*)\}")
_ENV_NAME: Final = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


class Secret:
    """Text that shows only as `Secret(***)`; `reveal()` is the one way to read it.

    In a configuration it is written as text, in which every `${env:NAME}` is replaced from the environment: the mapping
    given as `environ` in pydantic's validation context, else the process's own. Where `environ` is None, references
    have been replaced before, and the text is taken as it is, whatever it holds.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret text, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is never written out")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validated, serialization=core_schema.plain_serializer_function_ser_schema(repr)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "password", "writeOnly": True}

    @classmethod
    def _validated(cls, value: object, info: ValidationInfo) -> "Secret":
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise ValueError("a secret is text")  # noqa: TRY004  # pydantic reports ValueError, not TypeError
        context = info.context if isinstance(info.context, Mapping) else {}
        environ: Mapping[str, str] | None = context.get("environ", os.environ)
        if environ is None:
            return cls(value)

        def value_of(reference: re.Match[str]) -> str:
            named = _ENV_NAME.fullmatch(reference[1])
            if named is None:
                raise ValueError("a secret reference is written ${env:NAME}")
            if named[1] not in environ:
                raise ValueError(f"the environment variable {named[1]} is not set")
            return environ[named[1]]

        return cls(_REFERENCE.sub(value_of, value))
