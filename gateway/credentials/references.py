"""References in configuration texts: `${secret:name}`, `${VAR}`, `${VAR:-default}`, `${env:NAME}`."""

import re
from collections.abc import Mapping
from typing import Final, Protocol

from gateway.credentials.fault import CredentialFault

__all__ = ["SecretSource", "resolve"]

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
_SECRET: Final = re.compile(r"secret:([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})")
_VARIABLE: Final = re.compile(r"(env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_SOUNDS_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|AUTH|COOKIE|DSN", re.IGNORECASE)


class SecretSource(Protocol):
    """Where named secrets come from."""

    def get(self, name: str) -> str:
        """Return a secret. Raises `CredentialFault`."""
        ...


def resolve(text: str, environ: Mapping[str, str], secrets: SecretSource) -> tuple[str, frozenset[str]]:
    """Return `text` with every reference replaced, and those of the values put in that must be kept secret.

    Secret are the values of `${secret:…}`, of `${env:…}`, and of `${VAR}` where the name says so (it holds KEY, TOKEN,
    PASS and the like); defaults are not. `$${` stands for a literal `${`. What is put in is not looked at again.

    Raises:
        CredentialFault: a secret or variable is missing, or a reference is malformed.
    """
    used: set[str] = set()

    def value_of(reference: re.Match[str]) -> str:
        if reference[0] == "$${":
            return "${"
        name, closed = reference.groups()
        if not closed:
            raise CredentialFault("reference", f"`${{{name[:40]}` is not closed; write `$${{` for a literal `${{`")
        value, secret = _value(name, environ, secrets)
        if secret:
            used.add(value)
        return value

    return _REFERENCE.sub(value_of, text), frozenset(used)


def _value(name: str, environ: Mapping[str, str], secrets: SecretSource) -> tuple[str, bool]:
    """Return what a reference stands for, and whether that is a secret."""
    if found := _SECRET.fullmatch(name):
        return secrets.get(found[1]), True
    found = _VARIABLE.fullmatch(name)
    if found is None:
        raise CredentialFault(
            "reference",
            f"`${{{name[:40]}}}` is no reference: write ${{secret:name}}, ${{VAR}}, ${{VAR:-default}} or ${{env:VAR}}",
        )
    marked, variable, default = found.groups()
    value = environ.get(variable)
    if value or (value is not None and default is None):  # as in a shell, `:-` also stands in for an empty variable
        return value, bool(value and (marked or _SOUNDS_SECRET.search(variable)))
    if default is not None:
        return default, False
    name = variable.lower()
    raise CredentialFault(
        "variable_missing",
        f"the environment variable {variable} is not set; fix: export {variable}=…, "
        f"or keep it in the secret store: toolgate secret set {name}, and write ${{secret:{name}}}",
    )
