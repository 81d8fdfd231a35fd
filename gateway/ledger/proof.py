"""Reads an evidence bundle and says whether it holds; all it needs is the gateway's public key."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.codec import CodecError, parse
from gateway.ledger.bundles import is_as_named
from gateway.ledger.evidence import EVIDENCE, FORMAT
from gateway.ledger.heads import HEAD
from gateway.ledger.signing import NotSigned, key_of, signed_claims
from gateway.store.bodies import load
from gateway.store.chain import chained, link_holds
from gateway.store.ports import EventKind

__all__ = ["NoProof", "Proof", "prove"]

_HEADER: Final = ("seq", "at_ms", "kind", "call_id", "run_id", "agent", "on_behalf_of", "tool")
_REMEMBERED: Final = 10_000
_BEGINNING: Final = ("evidence", "asked", "register")


class NoProof(ValueError):
    """A bundle does not hold; the text says in which line and why."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a bundle proves: these events, by kind, were in the ledger up to event `seq`, as signed at `signed_ms`.

    `hash` is that of event `seq`, `kid` the key that signed the file.

    `asked` is what it was made to answer. `unseen` is how many events lie between them that are not shown, `bare` of
    how many retention removed the body.
    """

    asked: Mapping[str, Any]
    kid: str
    made_ms: int
    seq: int
    hash: str
    signed_ms: int
    events: Mapping[str, int]
    bundles: int
    unseen: int
    bare: int


def prove(lines: Iterable[bytes], jwks: Mapping[str, Any]) -> Proof:
    """Check every line of a bundle.

    Raises:
        NoProof: with the first line that does not hold, and why.
    """
    reader, hashed = _Reader(jwks), hashlib.sha256()
    last, number = b"", 0
    for number, line in enumerate(lines, 1):
        if last:
            hashed.update(last)
            reader.read(last, number - 1)
        last = line
    kid, made_ms = reader.signed(last, hashed.hexdigest(), number)
    reader.conclude()
    events, unseen = dict(sorted(reader.kinds.items())), reader.unseen
    return Proof(reader.asked, kid, made_ms, *reader.head, events, len(reader.kept), unseen, reader.bare)


class _Reader:
    """Goes along the part of the chain in a bundle, and holds against it what the signed heads in it state."""

    def __init__(self, jwks: Mapping[str, Any]) -> None:
        self._jwks = jwks
        self._seq = 0
        self._hashes: dict[int, str] = {}
        self._shown = 0
        self._named: set[str] = set()
        self.asked: Mapping[str, Any] = {}
        self.head = (0, "", 0)
        self.kinds: Counter[str] = Counter()
        self.kept: set[str] = set()
        self.unseen = 0
        self.bare = 0

    def read(self, line: bytes, number: int) -> None:
        """Check a line. Raises `NoProof`."""
        try:
            [(kind, told)] = parse(line).items()
            _read_for(kind, number)(self, told)
        except NoProof as error:
            raise NoProof(f"line {number}: {error}") from None
        except (CodecError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise NoProof(f"line {number}: cannot be read ({type(error).__name__})") from None

    def signed(self, line: bytes, digest: str, number: int) -> tuple[str, int]:
        """Check the last line against the digest of all others; return by which key and when it was signed.

        Raises `NoProof`.
        """
        try:
            [(kind, token)] = parse(line).items()
            claims = signed_claims(token if kind == "signed" else "", self._jwks, EVIDENCE)
            made_ms, told = int(claims["made_ms"]), claims["sha256"]
        except (CodecError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise NoProof(f"line {number}: the file does not end with its signature ({error})") from None
        if told != digest:
            raise NoProof(f"line {number}: the lines before are not those that were signed")
        return key_of(token), made_ms

    def conclude(self) -> None:
        """Check that nothing is missing. Raises `NoProof`."""
        if not self._shown:
            raise NoProof("the file shows no event")
        if self.head[0] < self._shown:
            raise NoProof(f"no signed head states event {self._shown}")
        if self._named - self.kept:
            raise NoProof(f"the policies {min(self._named - self.kept)} are missing")

    def question(self, told: Mapping[str, Any]) -> None:
        """Take what was asked for, which the signature of the whole stands for."""
        self.asked = {**told}

    def register(self, told: Any) -> None:
        """Pass the register, which the signature of the whole stands for."""

    def begun(self, told: Any) -> None:
        """Check the format."""
        if told != FORMAT:
            raise NoProof(f"this is no evidence bundle of format {FORMAT}")

    def bundle(self, told: Mapping[str, Any]) -> None:
        """Check that policies are those that decisions name."""
        if not is_as_named(told):
            raise NoProof(f"the policies are not those that {told['digest']} names")
        self.kept.add(told["digest"])

    def link(self, content: str) -> None:
        """Pass an event that is not shown."""
        self._pass(chained(self._hashes[self._seq], content))
        self.unseen += 1

    def event(self, told: Mapping[str, Any]) -> None:
        """Check an event that is shown."""
        if not self._seq:
            self._seq = told["seq"] - 1
            self._hashes[self._seq] = told["prev_hash"]
        header, body = tuple(told[name] for name in _HEADER), told["body"].encode()
        if header[0] != self._seq + 1 or not link_holds((*header, self._hashes[self._seq], told["hash"], body)):
            raise NoProof(f"event {header[0]} was changed, or is not where it was")
        self._pass(told["hash"])
        content = load(body)
        if told["kind"] == EventKind.HEAD_SIGNED:
            self._state(content["token"])
        else:
            self._show(told["kind"], content)

    def _show(self, kind: str, content: Mapping[str, Any]) -> None:
        self._shown = self._seq
        self.kinds[kind] += 1
        self.bare += "removed" in content
        named = content.get("decision", {}).get("bundle") if kind.startswith("call.") else ""
        if named:
            self._named.add(named)

    def _pass(self, sealed: str) -> None:
        self._seq += 1
        self._hashes[self._seq] = sealed
        self._hashes.pop(self._seq - _REMEMBERED, None)

    def _state(self, token: str) -> None:
        try:
            claims = signed_claims(token, self._jwks, HEAD)
        except NotSigned as error:
            raise NoProof(f"event {self._seq} is no head of this gateway: {error}") from None
        seq = int(claims["seq"])
        if seq in self._hashes and self._hashes[seq] != claims["hash"]:
            raise NoProof(f"event {seq} is another than the one that was signed")
        if seq in self._hashes:
            self.head = (seq, str(claims["hash"]), int(claims["at_ms"]))


_READS: Final[Mapping[str, Callable[[_Reader, Any], None]]] = {
    "evidence": _Reader.begun,
    "asked": _Reader.question,
    "register": _Reader.register,
    "bundle": _Reader.bundle,
    "link": _Reader.link,
    "event": _Reader.event,
}


def _read_for(kind: str, number: int) -> Callable[[_Reader, Any], None]:
    begins = kind in _BEGINNING or number <= len(_BEGINNING)
    if begins and _BEGINNING[number - 1 : number] != (kind,):
        raise NoProof(f"this is no evidence bundle of format {FORMAT}")
    return _READS[kind]
