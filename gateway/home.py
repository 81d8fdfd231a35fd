"""The folder of one gateway."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Home"]


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one gateway: gateway.yaml, gateway.lock, and `.toolgate/` for what is nobody else's business."""

    path: Path

    @property
    def lock(self) -> Path:
        """Where schemas are pinned."""
        return self.path / "gateway.lock"

    @property
    def private(self) -> Path:
        """The folder only the gateway's own user may read; made on first use."""
        folder = self.path / ".toolgate"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder
