"""One message: what an agent may say of it, checked, and its bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Final

from connectors.email.addresses import Recipients
from connectors.email.config import EmailConfig
from gateway.connector import Rejected, plain

__all__ = ["Draft", "Drafts"]

_LONGEST_SUBJECT: Final = 500
_LONGEST_TEXT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that may be sent."""

    sender: str
    to: tuple[str, ...]
    subject: str
    text: str = field(repr=False)
    html: str | None = field(default=None, repr=False)

    def written(self, message_id: str, now: Any) -> bytes:
        """Return the message as it is sent, dated `now`, a time with its zone."""
        message = EmailMessage(policy=SMTP)
        message["From"] = self.sender
        message["To"] = ", ".join(self.to)
        message["Subject"] = self.subject
        message["Date"] = format_datetime(now)
        message["Message-ID"] = message_id
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers to a machine
        message.set_content(self.text, cte="base64")
        if self.html is not None:
            message.add_alternative(self.html, subtype="html", cte="base64")
        return bytes(message)


class Drafts:
    """Makes drafts of a tool's arguments, refusing what the configuration does not allow."""

    def __init__(self, config: EmailConfig) -> None:
        self._senders = config.senders
        self._recipients = Recipients(config.recipients)
        self._most = config.most_recipients

    def draft(self, arguments: Mapping[str, Any]) -> Draft:
        """Return the message that the arguments describe. Raises `Rejected`."""
        if unknown := arguments.keys() - {"to", "subject", "text", "html", "sender"}:
            raise Rejected(f"`send` takes no {plain(min(unknown), 80)!r}.")
        return Draft(
            sender=self._sender(arguments.get("sender", self._senders[0])),
            to=self._to(arguments.get("to")),
            subject=_subject(arguments.get("subject")),
            text=_body("text", arguments.get("text")),
            html=None if arguments.get("html") is None else _body("html", arguments["html"]),
        )

    def _sender(self, sender: object) -> str:
        if sender not in self._senders:
            raise Rejected(f"Mail may be sent from {', '.join(self._senders)}, not from {plain(sender, 80)!r}.")
        return str(sender)

    def _to(self, to: object) -> tuple[str, ...]:
        if not isinstance(to, list) or not to or not all(isinstance(each, str) for each in to):
            raise Rejected("`to` is a list of addresses, at least one.")
        if len(to) > self._most:
            raise Rejected(f"A message has at most {self._most} recipients.")
        for each in to:
            if not self._recipients.allow(each):
                raise Rejected(f"Mail may not be sent to {plain(each, 80)!r}: no pattern in `recipients` names it.")
        return tuple(dict.fromkeys(to))


def _subject(subject: object) -> str:
    if not isinstance(subject, str) or len(subject) > _LONGEST_SUBJECT:
        raise Rejected(f"`subject` is a text of at most {_LONGEST_SUBJECT} characters.")
    if not subject.isprintable():
        raise Rejected("A subject is one line without control characters.")
    return subject


def _body(name: str, text: object) -> str:
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise Rejected(f"`{name}` is a text of at most {_LONGEST_TEXT} characters.")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise Rejected(f"`{name}` has characters that are no text.")
    return text
