"""What every connector's section of the configuration has in common."""

from pydantic import BaseModel, ConfigDict

__all__ = ["ConnectorConfig"]


class ConnectorConfig(BaseModel):
    """What a connector reads from its section of `mcpServers`; an unknown key is refused.

    A field called `base_url` is what paths given to `self.http` are relative to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
