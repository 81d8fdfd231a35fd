"""The missing call a refusal names, with its arguments filled in from the refused one."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.model.decision import Remedy
from gateway.policy.policies import Policy

__all__ = ["pointer", "remedies_of", "remedy_paths", "value_at"]

Path = tuple[str, ...]


def pointer(path: Path) -> str:
    """Return the JSON pointer of a path of property names."""
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in path)


def value_at(arguments: Any, path: Path) -> tuple[Any, ...]:
    """Return the JSON value at a path, in a tuple; an empty one where there is none."""
    for name in path:
        if not isinstance(arguments, Mapping) or name not in arguments:
            return ()
        arguments = arguments[name]
    return (arguments,)


def remedy_paths(policies: tuple[Policy, ...]) -> tuple[tuple[str, Path], ...]:
    """Return the arguments of the refused call that some remedy of these policies takes over, by JSON pointer too."""
    paths = {path for policy in policies for tool in policy.terms.remedies for _, path in _fill(policy, tool)}
    return tuple((pointer(path), path) for path in sorted(paths))


def remedies_of(policy: Policy, arguments: Mapping[str, Any]) -> tuple[Remedy, ...]:
    """Return the calls a policy asks for; `arguments` are those of the refused call, by JSON pointer."""
    return tuple(Remedy(tool, _filled(policy, tool, arguments)) for tool in policy.terms.remedies)


def _filled(policy: Policy, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for step, argument in _fill(policy, tool):
        name = pointer(argument)
        if name in arguments:
            here = filled
            for part in step[:-1]:
                here = here.setdefault(part, {})
            here.setdefault(step[-1], arguments[name])
    return filled


def _fill(policy: Policy, tool: str) -> Iterator[tuple[Path, Path]]:
    """Yield (remedy's argument, refused call's argument): what binds the step, then what the policy compares."""
    for query in policy.terms.priors:
        if query.tool == tool:
            yield from ((tuple(step.split(".")), tuple(argument.split("."))) for step, argument in query.bindings)
            yield from ((one.step, one.argument) for one in policy.equalities if one.prior == query.name)
