"""What goes wrong with the gateway's own secrets."""

from gateway.model.errors import ConnectorFault

__all__ = ["CredentialFault", "GrantRefused", "unsent", "unusable"]


class CredentialFault(ValueError):
    """A secret or variable cannot be had. The text says which, why and what fixes it, and holds no value.

    `code` is one of secret_missing, secret_name, secret_value, secret_store, variable_missing, reference.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class GrantRefused(Exception):
    """Whoever gives tokens or secrets said no, and will say so again until a person has done something.

    The text says what was said, and holds no value. `client` says that no grant of this client will be given, whoever
    it is for.
    """

    def __init__(self, message: str, *, client: bool = False) -> None:
        super().__init__(message)
        self.client = client


def unsent(message: str, *, detail: str = "", retry_after_s: float | None = None) -> ConnectorFault:
    """Return the fault for a call that could not be made for want of a credential just now."""
    return ConnectorFault(message, code="unavailable", detail=detail, retry_after_s=retry_after_s, sent=False)


def unusable(message: str, *, detail: str = "") -> ConnectorFault:
    """Return the fault for what an authorization server may not say."""
    return ConnectorFault(message, code="contract_broken", detail=detail, sent=False)
