"""Handing one message to a mail server, over a connection of its own."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Final

import aiosmtplib

from connectors.egress import Egress, Resolve, system_addresses
from connectors.email.config import EmailConfig
from connectors.email.message import Draft
from connectors.rest.reading import without
from gateway.connector import (
    ConnectorFault,
    CredentialExpired,
    Measure,
    Rejected,
    TimedOut,
    Unavailable,
    plain,
)
from gateway.connector.dialing import dialled

__all__ = ["MailServer"]

_GOODBYE_S: Final = 2.0
_MOST_ADDRESSES: Final = 4


class MailServer:
    """The mail server of one configuration."""

    def __init__(
        self, config: EmailConfig, redact: Callable[[str], str] = str, resolve: Resolve = system_addresses
    ) -> None:
        self._config = config
        self._redact = without(config.secrets(), redact)
        self._egress = Egress((), config.network.allow_private)
        self._resolve = resolve

    async def greet(self, timeout_s: float) -> None:
        """Connect, log in and leave. Raises `ConnectorFault`."""
        phase = _Phase()
        async with self._explained(phase, timeout_s), self._session(phase):
            return

    async def deliver(self, draft: Draft, message: bytes, timeout_s: float, measure: Measure) -> str:
        """Hand the message over for all recipients or for none; return what the server said.

        `measure` is told of the server's last word: its code (RFC 5321) and how long it was.

        Raises:
            ConnectorFault: it was not accepted; unless it says `sent` and is `unavailable` or `timeout`: then nobody
                knows.
        """
        phase = _Phase(measure)
        async with self._explained(phase, timeout_s), self._session(phase) as client:
            await client.mail(draft.sender)
            for address in draft.to:
                await client.rcpt(address)
            phase.sent = True
            answer = await client.data(message)
            phase.hears(answer.code, answer.message)
            return plain(self._redact(answer.message), 200)

    @asynccontextmanager
    async def _session(self, phase: "_Phase") -> AsyncIterator[aiosmtplib.SMTP]:
        tls = self._config.encryption()
        at_once = self._config.tls == "at_once"
        client = aiosmtplib.SMTP(
            hostname=self._config.host,
            local_hostname="localhost",  # the machine's own name is nobody's business
            timeout=None,
            use_tls=at_once,
            start_tls=False,
            tls_context=tls,
            sock=await self._connected(),
        )
        try:
            await client.connect()
            if tls is not None and not at_once:
                await client.starttls(server_hostname=self._config.host)
            if self._config.user is not None and self._config.password is not None:
                await client.login(self._config.user, self._config.password.reveal())
            yield client
        finally:
            await _goodbye(client)

    @asynccontextmanager
    async def _explained(self, phase: "_Phase", timeout_s: float) -> AsyncIterator[None]:
        """Bound what is done within, and say in the gateway's words what went wrong."""
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except aiosmtplib.SMTPAuthenticationError as error:
            phase.hears(error.code, error.message)
            raise CredentialExpired("The mail server does not accept the gateway's user or password.") from error
        except aiosmtplib.SMTPResponseException as error:
            phase.hears(error.code, error.message)
            raise self._refusal(error) from None
        except ssl.SSLError as error:
            detail = plain(error)
            raise Unavailable("The mail server's certificate is not valid.", detail=detail, sent=phase.sent) from error
        except TimeoutError as error:
            raise TimedOut("The mail server did not answer in time.", sent=phase.sent) from error
        except aiosmtplib.SMTPServerDisconnected as error:
            raise Unavailable("The mail server broke the connection off.", sent=phase.sent) from error
        except OSError as error:
            raise Unavailable("The mail server cannot be reached.", detail=plain(error), sent=phase.sent) from error
        except aiosmtplib.SMTPException as error:
            text = "The mail server cannot do what is needed of it: encryption, or a way to log in."
            raise Rejected(text, detail=plain(self._redact(str(error)))) from error

    def _refusal(self, error: aiosmtplib.SMTPResponseException) -> ConnectorFault:
        """Return the fault for a no: nothing was accepted (RFC 5321 §4.2.1: 4yz may change, 5yz will not)."""
        said = f"{error.code} {plain(self._redact(error.message), 200)}"
        if 400 <= error.code < 500:
            return Unavailable(f"The mail server does not take this message now ({said}).", detail=said, sent=False)
        return Rejected(f"The mail server refused this ({said}).", detail=said)

    async def _connected(self) -> socket.socket:
        """Return a connection to an address that was judged, the first one that answers."""
        config, tunnel = self._config, self._config.network.tunnel()
        if tunnel is not None:
            async with asyncio.timeout(config.network.connect_timeout_s):
                return await tunnel.reach(config.host, config.port)
        addresses = [ip_address(each.partition("%")[0]) for each in await self._resolve(config.host, config.port)]
        for address in addresses:
            self._egress.check_address(config.host, address)
        usable = [str(address) for address in addresses[:_MOST_ADDRESSES]]
        return await dialled(usable, config.port, config.network.connect_timeout_s)


class _Phase:
    """How far a message got: `sent` says that the server may have all of it."""

    def __init__(self, measure: Measure | None = None) -> None:
        self.sent = False
        self._measure = measure or Measure()

    def hears(self, code: int, message: str) -> None:
        """Take note of an answer of the server."""
        self._measure.add(len(message.encode()), code)


async def _goodbye(client: aiosmtplib.SMTP) -> None:
    """Leave politely if the server answers; in any case leave."""
    try:
        async with asyncio.timeout(_GOODBYE_S):
            if client.is_connected:
                await client.quit()
    except (aiosmtplib.SMTPException, OSError):
        pass
    finally:
        client.close()
