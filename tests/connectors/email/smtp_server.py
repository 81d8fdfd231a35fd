"""A real mail server in a process of its own. It keeps every message it accepted, and misbehaves when told to.

`python -m tests.connectors.email.smtp_server FOLDER MODE`: MODE is `plain`, `starttls` or `at_once`. What it does with
a message is in its recipients' names: later@, never@ (refused at RCPT), busy@, full@ (refused after DATA), silent@ (no
answer after DATA), cut@ (connection closed after DATA), loud@ (echoes the password).
"""

import asyncio
import base64
import json
import ssl
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

PASSWORD = "correct-horse-battery"


class Keeper:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        name = address.partition("@")[0]
        if name == "later":
            return "450 4.2.1 come back later"
        if name == "never":
            return "550 5.1.1 no such mailbox"
        if name == "loud":
            return f"550 {PASSWORD} {base64.b64encode(PASSWORD.encode()).decode()}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        names = {address.partition("@")[0] for address in envelope.rcpt_tos}
        if "busy" in names:
            return "451 4.3.0 try again"
        if "full" in names:
            return "552 5.2.2 too much"
        self._count += 1
        kept = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "message": envelope.original_content.decode("latin-1"),
            "user": session.auth_data.decode() if session.authenticated else None,
            "tls": server.transport.get_extra_info("ssl_object") is not None,
            "helo": session.host_name,
        }
        (self._folder / f"{self._count}.json").write_text(json.dumps(kept))
        if "silent" in names:
            await asyncio.sleep(600)
        if "cut" in names:
            server.transport.abort()
        return "250 2.0.0 kept"


def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = data.login == b"robot" and data.password == PASSWORD.encode()
    return AuthResult(success=good, handled=good, auth_data=data.login)


async def serve(folder: Path, mode: str) -> None:
    tls = None
    if mode != "plain":
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(folder / "cert.pem")
    keeper = Keeper(folder)

    def session() -> SMTP:
        begins = mode == "starttls"
        return SMTP(
            keeper,
            hostname="mail.example",
            tls_context=tls if begins else None,
            require_starttls=begins,
            authenticator=check,
            auth_required=mode != "plain",
            auth_require_tls=begins,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=tls if mode == "at_once" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
