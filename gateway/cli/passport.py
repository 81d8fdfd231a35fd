"""`toolgate runs passport`: a signed statement of a run, and whether one holds."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.app import issuer_of
from gateway.cli.acting import As, acting
from gateway.cli.durations import span_ms
from gateway.cli.loaded import Loaded
from gateway.cli.output import FAILED, USAGE, Refused, emit, fail_with
from gateway.cli.place import AsJson, ConfigPath, home_of, loaded_from, with_store
from gateway.cli.policy import rules_of
from gateway.ledger.passports import read_passport
from gateway.ledger.signing import NotSigned, SigningKey
from gateway.model.clock import RandomIds, SystemClock
from gateway.model.errors import RequestFault
from gateway.model.facts import RunRef
from gateway.model.identity import Identity
from gateway.pipeline.passports import Office, Wanted
from gateway.pipeline.rules import RulesInForce
from gateway.store.ports import EventFilter, EventKind, Record, Store
from gateway.store.private_file import PrivateFileError
from gateway.store.runs import told_caller

__all__ = ["passport"]

_VERIFY: Final = "verify"
_LONGEST: Final = 65_536


def passport(  # noqa: PLR0913, PLR0917 - each option is one a person may want
    run: Annotated[str, typer.Argument(help="The run's id; or `verify`, and then the file that a passport is in.")],
    file: Annotated[str, typer.Argument(help="With `verify`: the file, or - for standard input.")] = "",
    ttl: Annotated[str, typer.Option(help="How long it is good for, such as 15m or 8h.")] = "15m",
    audience: Annotated[str, typer.Option(help="Whom it is for; the `aud` of the passport.")] = "",
    keys: Annotated[
        Path | None, typer.Option(help="With `verify`: a file with the public keys (JWKS), instead of this gateway's.")
    ] = None,
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Print a run's passport: a JWT, signed, of who is at work, what it may use, and what is in the ledger of it.

    `passport verify FILE` checks one: with --keys offline, else against this gateway's key and ledger.
    """
    if run == _VERIFY:
        if not file:
            fail_with(Refused("usage", "say which: passport verify FILE, or - for standard input"), USAGE)
        _verify(_text_in(file, as_json), keys, config, as_json)
        return
    if file:
        fail_with(Refused("usage", f"{file!r} is too much: write passport RUN, or passport verify FILE"), USAGE)
    loaded = loaded_from(config, as_json=as_json)
    by = acting(loaded, person, as_json=as_json)
    issued, token = _issued(loaded, run, (span_ms(ttl) // 1000, audience, by), as_json)
    emit({"run": run, "id": issued["jti"], "expires": issued["exp"], "passport": token}, [token], as_json=as_json)


def _issued(loaded: Loaded, run: str, wanted: tuple[int, str, str], as_json: bool) -> tuple[Mapping[str, Any], str]:
    """Issue a passport for the owner of a run, on record."""
    ttl_s, audience, by = wanted
    rules = RulesInForce(rules_of(loaded, as_json=as_json))
    issuer = issuer_of(loaded.config, _key(loaded, as_json))
    clock = SystemClock()

    async def work(store: Store) -> tuple[Mapping[str, Any], str]:
        found = await store.find_run(run)
        if found is None:
            raise RequestFault(f"There is no run {run!r}; list them: toolgate runs list")
        identity = _owner(loaded, found)
        office = Office(store, issuer, rules, clock, RandomIds())
        issued, token = await office.issue(Wanted(identity, found, max(ttl_s, 1), audience))
        body = {"deed": "passport issued", "by": by, "id": issued["jti"], "expires": issued["exp"]}
        user = identity.on_behalf_of or ""
        await store.record(Record("", clock.now_ms(), run, identity.agent, user, "", body, EventKind.ADMIN))
        return issued, token

    return with_store(loaded, work, as_json=as_json)


def _owner(loaded: Loaded, run: RunRef) -> Identity:
    name, user = told_caller(run.owner)
    agent = loaded.config.agents.get(name)
    if agent is None:
        raise RequestFault(f"{name}, whose run this is, is no longer registered.")
    teams, roles = tuple(agent.teams), tuple(agent.roles)
    return Identity(name, "operator", "", agent.owner, teams, roles, on_behalf_of=user or None)


def _key(loaded: Loaded, as_json: bool) -> SigningKey:
    try:
        return SigningKey.load(home_of(loaded).private)
    except PrivateFileError as error:
        fail_with(Refused("private_file", str(error)), as_json=as_json)


def _verify(token: str, keys: Path | None, config: Path, as_json: bool) -> None:
    loaded = None if keys is not None else loaded_from(config, as_json=as_json)
    jwks = _jwks(keys, as_json) if keys is not None else _key(loaded, as_json).jwks() if loaded is not None else {}
    try:
        claims = read_passport(token, jwks, SystemClock().now_ms())
    except NotSigned as error:
        fail_with(Refused("not_valid", f"the passport does not hold: {error}"), as_json=as_json)
    head = claims["ledger"]
    if loaded is not None:
        _hold(loaded, head, as_json)
    lines = [
        f"the passport holds: {claims['sub']} in run {claims['run']}, until {_moment(claims['exp'])}",
        *([f"acting: {claims['act']['sub']}"] if "act" in claims else []),
        f"event {head['seq']} of the ledger is {head['hash']}{', and so it is here' if loaded else ''}",
    ]
    emit({"ok": True, "claims": claims}, lines, as_json=as_json)


def _hold(loaded: Loaded, head: Mapping[str, Any], as_json: bool) -> None:
    """Hold what a passport says of the ledger against the ledger."""
    seq: int = head["seq"]

    async def work(store: Store) -> list[str]:
        return [event.hash async for event in store.events(EventFilter(after_seq=seq - 1, limit=1))]

    if with_store(loaded, work, as_json=as_json) != [head["hash"]]:
        hint = "whose ledger is it? check with the keys of that gateway: --keys FILE; else: toolgate verify"
        fail_with(Refused("other_ledger", f"event {seq} of this ledger is another one", hint), as_json=as_json)


def _jwks(path: Path, as_json: bool) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail_with(Refused("keys", f"{path}: no JWKS ({error})"), as_json=as_json)
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
        fail_with(Refused("keys", f'{path}: no JWKS: an object with a list of "keys"'), as_json=as_json)
    return found


def _text_in(file: str, as_json: bool) -> str:
    try:
        if file == "-":
            return sys.stdin.read(_LONGEST).strip()
        with Path(file).open(encoding="utf-8") as opened:
            return opened.read(_LONGEST).strip()
    except (OSError, ValueError) as error:
        fail_with(Refused("file", f"{file} cannot be read: {error}"), FAILED, as_json=as_json)


def _moment(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()
