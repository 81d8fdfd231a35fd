"""What one attempt came to on the wire: told by the connector that makes it, kept in the ledger."""

__all__ = ["Measure"]


class Measure:
    """The last HTTP status that was answered, and the bytes received in all; None where nobody told."""

    status: int | None = None
    received: int | None = None

    def add(self, received: int, status: int | None = None) -> None:
        """Note that so many bytes more were received, with that HTTP status if there was one."""
        self.received = received + (self.received or 0)
        self.status = status or self.status

    def begin(self) -> None:
        """Forget an earlier attempt."""
        self.status = self.received = None
