"""What the gateway goes by at this moment: one immutable picture, swapped by one assignment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.catalog.catalog import Catalog
from gateway.policy import Bundle

__all__ = ["Rules", "RulesInForce"]


@dataclass(frozen=True, slots=True)
class Rules:
    """A catalog and the policies built for exactly its tools.

    `workflow_keys` maps a canonical tool name to (workflow, argument path): the argument that names the run.
    """

    catalog: Catalog
    bundle: Bundle
    workflow_keys: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class RulesInForce:
    """Holds the current rules; whoever reloads builds and validates whole new ones, then assigns `current`."""

    def __init__(self, rules: Rules) -> None:
        self.current = rules
