"""The composition root: the only package that names the adapters and builds the stages."""

from gateway.app.front import operator_token
from gateway.app.gateway import Gateway
from gateway.app.opening import (
    check_is_abreast,
    issuer_of,
    live_definitions,
    open_heads,
    open_store,
    policy_trial,
    store_file,
)
from gateway.home import Home
from gateway.rulebook import build_rules, read_policies, undecided_in

__all__ = [
    "Gateway",
    "Home",
    "build_rules",
    "check_is_abreast",
    "issuer_of",
    "live_definitions",
    "open_heads",
    "open_store",
    "operator_token",
    "policy_trial",
    "read_policies",
    "store_file",
    "undecided_in",
]
