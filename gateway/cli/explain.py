"""`toolgate explain`: what would be decided, and why, without calling."""

import getpass
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.output import DENIED, FAILED, USAGE, Refused, emit, fail_with
from gateway.cli.place import AsJson, ConfigPath, home_of, loaded_from
from gateway.cli.running import NOT_UP, running
from gateway.codec import CodecError, parse

__all__ = ["conclude", "explain"]

_NOT_NOW: Final = frozenset({"paused", "rate_limited", "budget_exceeded", "in_progress"})


def explain(  # noqa: PLR0913, PLR0917 - each option is one a person may want
    agent: Annotated[str, typer.Argument(help="Who would call; `toolgate agents list` shows them.")],
    tool: Annotated[str, typer.Argument(help="What it would call, such as payments.pay.")],
    values: Annotated[list[str] | None, typer.Argument(help="With which arguments: payment_id=p_17 amount=250")] = None,
    arguments: Annotated[str, typer.Option(help="Arguments as a JSON object; NAME=VALUE adds to them.")] = "",
    run: Annotated[str, typer.Option(help="The run it would belong to; else that of the agent's next call.")] = "",
    user: Annotated[str, typer.Option("--for", help="The user on whose behalf the agent would act.")] = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Say what the policies would decide just now, and why. Nothing is called; the question is on record.

    The gateway has to be up: it decides as it would decide the call itself, with everything that happened before.
    """
    loaded = loaded_from(config, as_json=as_json)
    if agent not in loaded.config.agents:
        refused = Refused("unknown_agent", f"no agent is called {agent!r}", "toolgate agents list shows who there is")
        fail_with(refused, as_json=as_json)
    asked = {
        "agent": agent,
        "tool": tool,
        "arguments": _arguments(arguments, values or (), _types(home_of(loaded).lock, tool)),
        "run": run,
        "on_behalf_of": user,
        "by": f"os:{getpass.getuser()}",
    }
    gateway = running(loaded)
    told: Mapping[str, Any] | None = None if gateway is None else gateway.ask("/-/explain", asked, 30.0)
    if told is None:
        fail_with(NOT_UP, as_json=as_json)
    if "error" in told:
        ends = DENIED if told["error"] in _NOT_NOW else FAILED
        fail_with(Refused(told["error"], told.get("message", "")), ends, as_json=as_json)
    conclude(told, as_json=as_json)


def conclude(told: Mapping[str, Any], *, as_json: bool) -> None:
    """Print an explanation, and end with 3 where the call would be refused or would wait."""
    emit(told, _lines(told), as_json=as_json)
    if not told["allowed"]:
        raise typer.Exit(DENIED)


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{told['outcome'].upper().replace('_', ' ')}  {', '.join(told['policies']) or 'no policy allows it'}"
    if told["message"]:
        yield f"  {told['message']}"
    for verdict in told["verdicts"]:
        state = "applies" if verdict["applies"] else "does not apply"
        yield f"  {verdict['effect']} {verdict['policy']} {state}"
        if verdict["condition"]:
            yield f"    {'holds' if verdict['holds'] else 'does not hold'}: {' '.join(verdict['condition'].split())}"
        yield from (f"      {name} = {value}" for name, value in verdict["seen"].items())
    for remedy in told["remedies"]:
        yield f"  would be allowed after: {remedy['tool']} {json.dumps(remedy['arguments'])}"
    verb = "carries" if told["allowed"] else "would be allowed with"
    yield from (f"  {verb}: {' '.join(one.split(':', 1))}" for one in told["obligations"])


def _types(lock: Path, tool: str) -> Mapping[str, Any]:
    """Return the declared arguments of a pinned tool, by name; nothing for one that is not pinned."""
    from gateway.catalog.lock import Lock, LockError

    server, _, name = tool.partition(".")
    try:
        pin = Lock.read(lock).servers.get(server, {}).get(name)
    except LockError as error:
        fail_with(Refused("lock", str(error)))
    schema = {} if pin is None else pin.definition.get("inputSchema", {})
    known = schema.get("properties")
    return known if isinstance(known, Mapping) else {}


def _arguments(text: str, values: Sequence[str], types: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a person wrote. Exits with 2 where they are none."""
    try:
        made = parse(text.encode()) if text else {}
    except CodecError as error:
        fail_with(Refused("arguments", f"--arguments is no JSON: {error}"), USAGE)
    if not isinstance(made, dict):
        fail_with(Refused("arguments", "--arguments is no JSON object"), USAGE)
    for value in values:
        name, equals, written = value.partition("=")
        if not equals or not name:
            fail_with(Refused("arguments", f"{value!r} is not NAME=VALUE"), USAGE)
        made[name] = _value(written, types.get(name))
    return made


def _value(written: str, schema: Any) -> Any:
    """Read a value as its schema wants it: a text as it is, anything else as JSON where it is that."""
    if isinstance(schema, Mapping) and schema.get("type") == "string":
        return written
    try:
        return parse(written.encode())
    except CodecError:
        return written
