"""What a person is shown before they decide: the whole call, every text escaped and with nothing in it that hides."""

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from gateway.approval.shown import as_written, unusual, visible
from gateway.approval.values import Approval
from gateway.credentials.visitors import PATH, Visitor
from gateway.ledger.entries import facts_from
from gateway.ledger.trace import CallLine
from gateway.pipeline.desk import described

__all__ = ["Sheet", "queue_html", "sheet_html", "sign_in_html"]

_TEXT: Final = re.compile(r'("(?:[^"\\]|\\.)*")')
_MOST_KINDS: Final = 40
_MOST_COMPARED: Final = 4_000
"""Lines of arguments, before and after, that are compared: what it takes grows with their square."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One approval and all that speaks for or against it.

    `no` and `no_denial` say why this visitor may not approve or deny it, `old` is what it was edited from, `steps` are
    the latest calls of its run.
    """

    approval: Approval
    now_ms: int
    no: str
    no_denial: str
    old: Approval | None = None
    steps: Sequence[CallLine] = ()


def sheet_html(sheet: Sheet, visitor: Visitor) -> tuple[str, str]:
    """Return the title and the body of an approval's page."""
    approval, told = sheet.approval, described(sheet.approval, sheet.now_ms)
    title = escape(visible(f"{told.get('child') or told['agent']} wants to call {told['tool']}"))
    if approval.standing:
        body = _list([(name, _json(value)) for name, value in told.items() if value not in ("", [])])
        return title, _signed_in(visitor) + body + _leave(visitor)
    shown = as_written(told["arguments"])
    parts = [
        _signed_in(visitor),
        f"<p><b>{_text(told['state'])}</b>: {_text(told['message'] or 'A person has to approve it.')}</p>",
        f'<h2>Arguments, all of them, in the order given</h2><pre class="exact">{_lines(shown)}</pre>{_kinds(shown)}',
        _changes(sheet.old, shown),
        f"<h2>The call</h2>{_list(_facts(sheet, told))}",
        _section("Said so far", [_vote(vote) for vote in told["votes"]]),
        _section("What the rules relied on", _priors(approval)),
        _section("The latest calls of its run", [_step(line) for line in sheet.steps]),
        _forms(sheet, visitor),
        _leave(visitor),
    ]
    return title, "".join(parts)


def queue_html(rows: Sequence[tuple[Approval, str]], following: str, now_ms: int, visitor: Visitor) -> str:
    """Return the body of the page that lists what waits, each with why this visitor may not approve it, or nothing."""
    mine, others = [], []
    for approval, no in rows:
        told = described(approval, now_ms)
        who = _text(told["child"] or told["agent"])
        behalf = f" for {_text(told['on_behalf_of'])}" if told["on_behalf_of"] else ""
        link = f'<a href="{PATH}/{escape(approval.id, quote=True)}">{who}{behalf}: {_text(told["tool"])}</a>'
        late = ", overdue" * told["overdue"]
        to = f", for {_text(told['assigned'])} to answer" if told["assigned"] else ""
        draft = " (draft)" * ("draft" in told)
        row = f"{link} <br>{_text(told['state'])}{draft}{late}{to} until {_moment(approval.until_ms)}"
        (others.append(f"{row} <br>{_text(no)}") if no else mine.append(row))
    waiting = _section("For you to decide", mine) or "<p>Nothing waits for you.</p>"
    other = _section("What others decide, or was decided and not used yet", others)
    older = f'<a href="{PATH}?before={escape(following, quote=True)}">Those before them</a>'
    cut = f"<p>Only the newest of what waits are listed here. {older}</p>" if following else ""
    return _signed_in(visitor) + cut + waiting + other + _leave(visitor)


def sign_in_html(issuers: Sequence[str], said: str = "") -> str:
    """Return the body of the page on which somebody shows who they are."""
    logins = "".join(
        f'<form method="post"><input type="hidden" name="issuer" value="{escape(each, quote=True)}">'
        f'<button name="deed" value="login">Log in at {escape(each)}</button></form>'
        for each in issuers
    )
    own = (
        '<form method="post" autocomplete="off"><label>Your own token <input type="password" name="token" required '
        'autocomplete="off"></label><button name="deed" value="token">Continue with my token</button></form>'
    )
    return f"<p>{escape(said)}</p>{logins}{own}"


def _facts(sheet: Sheet, told: Mapping[str, Any]) -> list[tuple[str, str]]:
    approval, server = sheet.approval, told["server"]
    about = {f"server's {name}": server.get(name, "") for name in ("owner", "contact", "runbook", "environment")}
    cost = ", ".join(f"{amount} {unit}" for unit, amount in approval.asked.get("cost", {}).items())
    rows = {
        "agent": told["child"] or told["agent"],
        "on behalf of": told["on_behalf_of"] or "nobody but the agent",
        "agent's owner": told["owner"],
        "tool": f"{told['tool']} ({told['effect']})",
        "draft": "carried out by the agent once it is approved" if "draft" in told else "",
        "cost": cost,
        "who is asked": " and ".join(told["who"]),
        "how many": f"{told['quorum']} people" if told["quorum"] > 1 else "",
        "to be answered by": told["assigned"],
        "answer due": f"{_moment(approval.due_ms)}{' (overdue)' * approval.overdue}",
        "asked": _moment(approval.asked_ms),
        "until": _moment(approval.until_ms),
        "run": told["run"],
        "rules": ", ".join(told["policies"]),
        **about,
        "became": told["edited_to"],
        "id": approval.id,
    }
    return [(name, _text(value)) for name, value in rows.items() if value]


def _changes(old: Approval | None, shown: Sequence[str]) -> str:
    if old is None:
        return ""
    before, said = as_written(old.asked["arguments"]), "There is too much of it to be compared here."
    if len(before) + len(shown) <= _MOST_COMPARED:
        marks = {"-": "del", "+": "ins", " ": "span"}
        diff = [line for line in difflib.unified_diff(before, shown, lineterm="") if line[0] in marks][2:]
        said = "".join(f"<{(mark := marks[line[0]])}>{line[0]} {_marked(line[1:])}</{mark}>\n" for line in diff)
    return f'<h2>Changed by a person, from {_text(old.id)}</h2><pre class="exact">{said}</pre>'


def _priors(approval: Approval) -> list[str]:
    if "facts" not in approval.asked:  # retention took it out
        return []
    return [
        f"{_text(name)}: {_text(step.tool)}, {_text(str(step.status))} {_moment(step.at_ms)} (#{_text(step.call_id)}), "
        f'with <pre class="exact">{_lines(as_written({"arguments": step.arguments, "output": step.output}))}</pre>'
        for name, step in facts_from(approval.asked).priors.items()
    ]


def _step(line: CallLine) -> str:
    code = f" ({_text(line.code)})" if line.code else ""
    return f"{_moment(line.at_ms)} {_text(line.who)}: {_text(line.tool)}, {_text(line.outcome)}{code}"


def _vote(vote: Mapping[str, Any]) -> str:
    way = f", by {_text(vote['channel'])}" if vote.get("channel") else ""
    why = f": {_text(vote['why'])}" if vote["why"] else ""
    return f"{_text(vote['by'])} {'approved' if vote['yes'] else 'denied'} {_moment(vote['at_ms'])}{way}{why}"


def _forms(sheet: Sheet, visitor: Visitor) -> str:
    approval = sheet.approval
    pending, usable = approval.is_pending(sheet.now_ms), approval.is_usable(sheet.now_ms)
    parts = []
    if pending and not sheet.no:
        parts.append(_form(visitor, "approve", "Approve this call, once", _why("Why (kept on record)")))
        rows = min(20, len(as_written(approval.asked["arguments"])) + 1)
        written = escape(_editable(approval.asked["arguments"]))
        field = (
            f'<label>Arguments, as JSON <textarea name="arguments" rows="{rows}" spellcheck="false" autocomplete="off">'
            f"{written}</textarea></label>"
        )
        edit = _form(visitor, "edit", "Approve with these arguments instead", field + _why("Why (kept on record)"))
        if approval.assigned != visitor.person:
            parts.append(_form(visitor, "take", "I will answer this", ""))
        parts.append(f"<details><summary>Approve other arguments instead</summary>{edit}</details>")
    elif pending:
        parts.append(f"<p>You cannot approve this: {_text(sheet.no)}</p>")
    if (pending or usable) and not sheet.no_denial:
        parts.append(_form(visitor, "deny", "Refuse it", _why("Why not (the agent is told)", required=True)))
    if (pending or usable) and any(vote.by == visitor.person for vote in approval.consents):
        parts.append(_form(visitor, "withdraw", "Take my approval back", ""))
    return f"<h2>Decide</h2>{''.join(parts)}" if parts else ""


def _form(visitor: Visitor, deed: str, label: str, fields: str) -> str:
    key = f'<input type="hidden" name="key" value="{visitor.form_key}">'
    return f'<form method="post">{key}{fields}<button name="deed" value="{deed}">{label}</button></form>'


def _why(label: str, *, required: bool = False) -> str:
    return f'<label>{label} <input name="why" maxlength="500"{" required" * required}></label>'


def _signed_in(visitor: Visitor) -> str:
    who = f"<p>You are <b>{_text(visitor.person)}</b> ({_text(visitor.shown)})."
    return f'{who} <a href="{PATH}">All that waits</a></p>'


def _leave(visitor: Visitor) -> str:
    return _form(visitor, "leave", "Log out", "")


def _section(title: str, rows: Sequence[str]) -> str:
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{row}</li>' for row in rows)}</ul>" if rows else ""


def _list(rows: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{value}</dd>' for name, value in rows)}</dl>"


def _kinds(shown: Sequence[str]) -> str:
    kinds = unusual("".join(shown))
    more = f" and {len(kinds) - _MOST_KINDS} more." if len(kinds) > _MOST_KINDS else "."
    told = ", ".join(escape(each) for each in kinds[:_MOST_KINDS])
    if any(unicodedata.bidirectional(each[0]) in {"R", "AL"} for each in kinds):
        more += f"</p><p>As texts that are written from right to left read:</p><pre>{_lines(shown)}</pre><p>"
    return f"<p>Characters beyond ASCII in them: {told}{more} Some look like others.</p>" if kinds else ""


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(map(_marked, lines))


def _marked(line: str) -> str:
    """Return a line of JSON with every text in it isolated: letters written from right to left reorder nothing else."""
    return "".join(f"<bdi>{escape(part)}</bdi>" if part.startswith('"') else escape(part) for part in _TEXT.split(line))


def _editable(value: Any) -> str:
    """Return a JSON value as it is edited: what cannot be seen is written as the escapes that JSON has for it."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    hidden = {char for char in set(text) if char != "\n" and visible(char) != char}
    return text.translate({ord(char): json.dumps(char)[1:-1] for char in hidden})


def _json(value: Any) -> str:
    return _text(value) if isinstance(value, str) else _marked(visible(json.dumps(value, ensure_ascii=False)))


def _text(text: str) -> str:
    return f"<bdi>{escape(visible(text))}</bdi>"


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
