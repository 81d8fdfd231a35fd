"""An evidence bundle holds with the public key alone, and not once anything in it was changed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.evidence import EVIDENCE, Exporter, Identities, NotShowable
from gateway.ledger.heads import Heads
from gateway.ledger.proof import NoProof, Proof, prove
from gateway.ledger.retention import Retention
from gateway.ledger.signing import SigningKey
from gateway.model.outcome import Succeeded
from gateway.store.ports import EventFilter
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import PAYMENT, PRECONDITION, SECRET, Gate, answer
from tests.pipeline.people import POLICIES, a_gate, asked
from tests.store.making import record
from tests.store.test_removable import as_of_the_first_version

IDENTITIES = Identities(agents={"payer": {"owner": "finance"}}, credentials=[{"id": "tok_1", "agent": "payer"}])


class Archive:
    """A gateway with some history in which one payment was checked, approved and made, and its key."""

    def __init__(self, path: Path) -> None:
        self.gate = a_gate(*POLICIES, PRECONDITION)
        self.key = SigningKey.load(path)
        self.heads = Heads(self.gate.store, self.key, path / "anchor", self.gate.clock)

    async def fill(self) -> "Archive":
        gate = self.gate
        for number in range(3):
            await gate.run("payments_list", {"limit": number}, agent="other")
        gate.servers["fraud"].calls.append(answer({"result": "passed"}))
        self.check = (await gate.run("fraud_check")).call.id
        await gate.run("mail_send", {"to": "eve"}, agent="other")
        self.approval = await asked(gate)
        await gate.approving.desk.approve("bob", self.approval, "fine")
        await gate.run("payments_list", {"limit": 9}, agent="other")
        self.paid = (await gate.run("payments_pay")).call.id
        await self.heads.sign()
        await gate.run("payments_list", {"limit": 10}, agent="other")
        await self.heads.sign()
        return self

    async def export(self, **wanted: Any) -> list[bytes]:
        exporter = Exporter(self.gate.store, self.heads, self.key, self.gate.clock)
        known = {"limit": 10_000, **wanted}
        return [line async for line in exporter.lines(EventFilter(**known), IDENTITIES)]

    def prove(self, lines: list[bytes]) -> Proof:
        return prove(lines, self.key.jwks())


@pytest.fixture
async def archive(tmp_path: Path) -> Archive:
    return await Archive(tmp_path).fill()


def told(lines: list[bytes], kind: str) -> list[Any]:
    return [json.loads(line)[kind] for line in lines if kind in json.loads(line)]


async def test_a_payment_is_shown_with_its_check_its_approval_and_what_decided_it(archive: Archive) -> None:
    lines = await archive.export(call_id=archive.paid)
    proof = archive.prove(lines)
    assert proof.events == {
        "approval.approved": 1,
        "approval.asked": 1,
        "approval.used": 1,
        "call.claimed": 2,
        "call.finished": 2,
    }
    assert {event["call_id"] for event in told(lines, "event")} == {
        archive.paid,
        archive.check,
        archive.approval,
        "head",
    }
    [bundle] = told(lines, "bundle")
    assert bundle["digest"] == archive.gate.rules.current.bundle.digest
    assert "payments.pay" in {tool["name"] for tool in bundle["tools"]}
    [register] = told(lines, "register")
    assert register["agents"] == {"payer": {"owner": "finance"}}
    assert (proof.bundles, proof.bare) == (1, 0)
    assert proof.unseen == len(told(lines, "link")) > 0


async def test_nothing_of_other_calls_is_shown(archive: Archive) -> None:
    lines = await archive.export(call_id=archive.paid)
    shown = [line for line in lines if b'"event":{' in line[:20]]
    assert shown
    assert not any(b"mail.send" in line or b'\\"limit\\"' in line for line in shown)
    assert SECRET.encode() not in b"".join(lines)


async def test_a_bundle_of_everything_holds_too(archive: Archive) -> None:
    proof = archive.prove(await archive.export())
    assert proof.unseen == 1  # the policies are shown by themselves
    assert proof.events["call.recorded"] == 6
    assert proof.seq >= 15


@pytest.mark.parametrize("wanted", [{"agent": "payer"}, {"tool": "payments.*"}, {"tool": "fraud.check"}])
async def test_what_is_asked_for_is_shown(archive: Archive, wanted: dict[str, str]) -> None:
    lines = await archive.export(**wanted)
    assert archive.prove(lines).events
    assert told(lines, "asked")[0].items() >= wanted.items()


async def test_a_run_is_shown_whole(archive: Archive) -> None:
    [claim, *_] = await archive.gate.events(archive.paid)
    events = told(await archive.export(run_id=claim.run_id), "event")
    assert {event["run_id"] for event in events} == {claim.run_id, ""}
    assert archive.check in {event["call_id"] for event in events}


async def test_nothing_asked_for_is_nothing(archive: Archive) -> None:
    assert await archive.export(call_id="call_none") == []


async def test_a_head_is_signed_where_there_is_none_behind_what_is_shown(archive: Archive) -> None:
    last = await archive.gate.run("payments_list", {"limit": 11}, agent="other")
    assert archive.prove(await archive.export(call_id=last.call.id)).events == {"call.recorded": 1}


async def test_what_was_asked_for_is_told_with_the_proof(archive: Archive) -> None:
    asked = archive.prove(await archive.export(call_id=archive.paid)).asked
    assert asked == {"call_id": archive.paid, "made_ms": archive.gate.clock.now_ms()}
    assert archive.prove(await archive.export()).asked.keys() == {"made_ms"}


async def test_an_answer_from_the_record_is_shown_with_the_call_that_it_is_of(archive: Archive) -> None:
    settled = (await archive.gate.run("payments_settle")).call.id
    again = await archive.gate.run("payments_settle")
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from == settled
    events = told(await archive.export(call_id=again.call.id), "event")
    assert {event["call_id"] for event in events} == {again.call.id, settled, "head"}


async def test_what_could_only_be_shown_whole_is_not_shown_unasked(tmp_path: Path) -> None:
    await as_of_the_first_version(tmp_path / "ledger.db")
    clock, key = FakeClock(), SigningKey.load(tmp_path)
    store = SqliteStore(tmp_path / "ledger.db", clock)
    await store.open()
    await store.record(record("later"))
    exporter = Exporter(store, Heads(store, key, tmp_path / "anchor", clock), key, clock)

    async def export(**wanted: Any) -> list[bytes]:
        return [line async for line in exporter.lines(EventFilter(**wanted), IDENTITIES)]

    with pytest.raises(NotShowable, match="event 3, which was not asked for"):
        await export(call_id="check")
    assert prove(await export(), key.jwks()).events == {"call.claimed": 1, "call.finished": 1, "call.recorded": 2}
    assert prove(await export(call_id="later"), key.jwks()).events == {"call.recorded": 1}
    await store.close()


async def test_bodies_that_retention_removed_are_counted(archive: Archive) -> None:
    archive.gate.clock.passed += 400 * 86_400
    await Retention(archive.gate.store, lambda: 86_400_000, archive.gate.clock).run()
    proof = archive.prove(await archive.export(call_id=archive.paid))
    assert proof.bare == 5
    assert proof.events["call.claimed"] == 1


async def test_another_key_proves_nothing(archive: Archive, tmp_path: Path) -> None:
    lines = await archive.export(call_id=archive.paid)
    with pytest.raises(NoProof, match="is no head of this gateway"):
        prove(lines, SigningKey.load(tmp_path / "other").jwks())
    for nonsense in ({}, {"keys": []}, []):
        with pytest.raises(NoProof):
            prove(lines, nonsense)  # type: ignore[arg-type]  # what a file may hold


async def test_every_changed_removed_repeated_or_moved_line_is_found(archive: Archive) -> None:
    lines = await archive.export(call_id=archive.paid)
    for number in range(len(lines)):
        changed = bytearray(lines[number])
        changed[len(changed) // 2] ^= 1
        for other in (
            [*lines[:number], bytes(changed), *lines[number + 1 :]],
            [*lines[:number], *lines[number + 1 :]],
            [*lines[:number], lines[number], *lines[number:]],
            [*lines[: number - 1], lines[number], lines[number - 1], *lines[number + 1 :]] if number else [],
        ):
            with pytest.raises(NoProof):
                archive.prove(other)


def resigned(archive: Archive, lines: list[bytes]) -> list[bytes]:
    """Sign the file anew, as somebody could who has the gateway sign whatever he likes, but not the heads."""
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    signature = archive.key.sign({"sha256": digest, "made_ms": 0}, EVIDENCE)
    return [*lines, json.dumps({"signed": signature}).encode()]


def edit(lines: list[bytes], kind: str, change: Callable[[Any], Any]) -> list[bytes]:
    """Change the first line of a kind."""
    number = next(n for n, line in enumerate(lines) if kind in json.loads(line))
    other = json.dumps({kind: change(json.loads(lines[number])[kind])}).encode() + b"\n"
    return [*lines[:number], other, *lines[number + 1 :]]


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        ("event", lambda event: {**event, "agent": "eve"}, "was changed, or is not where it was"),
        ("event", lambda event: {**event, "body": event["body"].replace("ACME", "EVIL")}, "was changed"),
        ("event", lambda event: {**event, "seq": event["seq"] + 1}, "was changed, or is not where it was"),
        ("event", lambda event: {**event, "prev_hash": "2." + "0" * 64}, "was changed, or is not where it was"),
        ("link", lambda link: "0" * 64, "was changed, or is not where it was"),
        ("bundle", lambda bundle: {**bundle, "policies": []}, "the policies are not those"),
        ("bundle", lambda bundle: [], "cannot be read"),
        ("event", lambda event: {}, "cannot be read"),
        ("evidence", lambda _: 2, "no evidence bundle of format 1"),
    ],
)
async def test_the_chain_holds_even_against_whoever_can_have_a_file_signed(
    archive: Archive, kind: str, change: Callable[[Any], Any], why: str
) -> None:
    lines = (await archive.export(call_id=archive.paid))[:-1]
    assert archive.prove(resigned(archive, lines))
    with pytest.raises(NoProof, match=why):
        archive.prove(resigned(archive, edit(lines, kind, change)))


async def test_what_a_bundle_lacks_is_named(archive: Archive) -> None:
    lines = (await archive.export(call_id=archive.paid))[:-1]
    without = [line for line in lines if b'"bundle":{' not in line[:20]]
    with pytest.raises(NoProof, match="are missing"):
        archive.prove(resigned(archive, without))
    with pytest.raises(NoProof, match="no signed head states event"):
        archive.prove(resigned(archive, lines[:-1]))
    with pytest.raises(NoProof, match="shows no event"):
        archive.prove(resigned(archive, lines[:3]))
    with pytest.raises(NoProof, match="does not end with its signature"):
        archive.prove(lines)
    with pytest.raises(NoProof):
        archive.prove([])
    for begun in (lines[1:], [*lines[:1], *lines[2:]], [*lines[:2], *lines[1:]], [*lines, lines[1]]):
        with pytest.raises(NoProof, match="no evidence bundle"):
            archive.prove(resigned(archive, begun))


async def test_two_ledgers_under_one_key_make_no_third(archive: Archive, tmp_path: Path) -> None:
    lines = (await archive.export())[:-1]
    other = Archive(tmp_path)
    other.heads = Heads(other.gate.store, archive.key, tmp_path / "other-anchor", other.gate.clock)
    await other.gate.run("payments_list", {"limit": 77}, agent="other")
    await other.fill()
    others = (await other.export())[:-1]
    assert archive.prove(resigned(archive, others))
    apart = next(number for number, line in enumerate(lines) if line != others[number])
    for number in range(apart + 1, min(len(lines), len(others))):
        with pytest.raises(NoProof):
            archive.prove(resigned(archive, [*lines[:number], *others[number:]]))


async def test_nothing_is_put_beside_the_signature(archive: Archive) -> None:
    lines = await archive.export(call_id=archive.paid)
    for last in (lines[-1][:-2] + b',"note":"all is well"}\n', lines[-1].replace(b"signed", b"sighed"), b"\n", b"[]\n"):
        with pytest.raises(NoProof, match="does not end with its signature"):
            archive.prove([*lines[:-1], last])


async def test_a_forged_head_in_the_file_is_no_head(archive: Archive, tmp_path: Path) -> None:
    lines = (await archive.export(call_id=archive.paid))[:-1]
    forger = Gate()
    heads = Heads(forger.store, SigningKey.load(tmp_path / "forger"), tmp_path / "other-anchor", forger.clock)
    await forger.run("payments_pay", PAYMENT)
    await heads.sign()
    exporter = Exporter(forger.store, heads, archive.key, forger.clock)
    forged = [line async for line in exporter.lines(EventFilter(), IDENTITIES)]
    with pytest.raises(NoProof, match="is no head of this gateway"):
        archive.prove(forged)
    assert archive.prove(resigned(archive, lines))
