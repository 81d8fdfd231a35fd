"""What an approval would change: a refused call is decided again as if a person had approved it (POLICY.md §3)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.policy.cedar import pst
from gateway.policy.entities import NAMESPACE, Entity, Uid, reference
from gateway.policy.need import APPROVAL
from gateway.policy.policies import Policy

__all__ = ["MANY", "approvers", "approving", "people"]

_SOMEBODY: Final = "somebody whom no policy names"
_PEOPLE: Final = 16
MANY: Final = 1_000_000
"""More people than any policy asks for."""


def approvers(policies: Iterable[Policy]) -> tuple[str, ...]:
    """Return the users whose approval may be told apart by these policies: any other one is like one of them.

    These are somebody in no team or role, somebody in every one that a policy names, and each user that is named; one
    of them will do where no policy looks at who approved. Of very many only the first are returned.
    """
    readers = [policy for policy in policies if policy.need.reads((*APPROVAL, "by"))]
    if not readers:
        return (_SOMEBODY,)
    named = sorted(one.id for one in _named(readers, "User"))
    return (_SOMEBODY, f"{_SOMEBODY}, in every team and role", *named)[:_PEOPLE]


def people(names: Sequence[str], policies: Iterable[Policy], known: Sequence[Entity]) -> list[Entity]:
    """Return the entities of hypothetical approvers: all but the first belong to every team and role that is named."""
    present = {one["uid"]["id"] for one in known if one["uid"]["type"] == f"{NAMESPACE}::User"}
    policies = tuple(policies)
    groups = [one._asdict() for kind in ("Team", "Role") for one in sorted(_named(policies, kind))]
    return [
        {"uid": reference("User", name)["__entity"], "attrs": {}, "parents": groups}
        for name in names[1:]
        if name not in present
    ]


def approving(context: Mapping[str, Any], names: Sequence[str], quorum: int = MANY) -> Iterator[dict[str, Any]]:
    """Yield the context with the best approval each of these people could give now for these arguments, in a quorum."""
    base = context.get("base")
    base = base if isinstance(base, Mapping) else {}
    for name in names:
        approval = {"by": reference("User", name), "argsMatch": True, "quorum": quorum}
        if "now" in base:
            approval["at"] = base["now"]
        yield {**context, "base": {**base, "approval": approval}}


def _named(policies: Iterable[Policy], kind: str) -> set[Uid]:
    found = {one for policy in policies for one in pst.entity_uids(policy.template)}
    return {Uid(str(one.type), one.id) for one in found if str(one.type) == f"{NAMESPACE}::{kind}"}
