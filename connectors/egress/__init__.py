"""Where a connector may send requests: rules over URLs, judged addresses, and a network that keeps to both."""

from connectors.egress.rules import Egress, EgressConfig, EgressRefused, EgressRule
from gateway.connector.addresses import Reach, judged
from gateway.connector.dialing import Resolve, system_addresses
from gateway.connector.network import PinnedNetwork
from gateway.connector.target import Target, TargetRefused

__all__ = [
    "Egress",
    "EgressConfig",
    "EgressRefused",
    "EgressRule",
    "PinnedNetwork",
    "Reach",
    "Resolve",
    "Target",
    "TargetRefused",
    "judged",
    "system_addresses",
]
