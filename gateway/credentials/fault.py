"""What goes wrong with the gateway's own secrets."""

__all__ = ["CredentialFault"]


class CredentialFault(ValueError):
    """A secret or variable cannot be had. The text says which, why and what fixes it, and holds no value.

    `code` is one of secret_missing, secret_name, secret_value, secret_store, variable_missing, reference.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
