"""Secrets that a program prints or a file holds."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.codec import CodecError, from_base64url, parse
from gateway.connector.auth import CommandOutput
from gateway.credentials.client import read_jwt
from gateway.credentials.fault import GrantRefused, unsent
from gateway.credentials.token import Token
from gateway.model.clock import Clock

__all__ = ["of_command", "of_file"]

_INHERITED: Final = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG")
_MOST_BYTES: Final = 64 * 1024


async def of_command(section: CommandOutput, environ: Mapping[str, str], clock: Clock) -> Token:
    """Return what the program prints. It is ended with everything it started when its time is over.

    Raises:
        GrantRefused: it is not there, fails, or prints no secret.
        ConnectorFault: it does not end in time.
    """
    inherited = {name: environ[name] for name in _INHERITED if name in environ}
    own = {name: value.reveal() for name, value in section.env.items()}
    asked_ms = clock.now_ms()
    try:
        program = await asyncio.create_subprocess_exec(
            section.command,
            *section.args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # it may say the secret there as well
            env={**inherited, **own},
            start_new_session=True,
        )
    except OSError as error:
        raise GrantRefused(f"{section.command} cannot be started ({error.strerror})") from None
    printed = await _printed(program, section)
    if program.returncode != 0:
        raise GrantRefused(f"{section.command} ended with {program.returncode}")
    return _token(section, printed, asked_ms)


async def _printed(program: asyncio.subprocess.Process, section: CommandOutput) -> bytes:
    assert program.stdout is not None
    try:
        async with asyncio.timeout(section.timeout_s):
            printed = await program.stdout.read(_MOST_BYTES)
            if not program.stdout.at_eof() and await program.stdout.read(1):
                raise GrantRefused(f"{section.command} prints more than {_MOST_BYTES} bytes")
            await program.wait()
    except TimeoutError:
        raise unsent(f"{section.command} did not give the credential in time.") from None
    finally:
        _end(program)
        await program.wait()
    return printed


def _end(program: asyncio.subprocess.Process) -> None:
    """End what is left of the program's process group."""
    try:
        os.killpg(program.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _token(section: CommandOutput, printed: bytes, asked_ms: int) -> Token:
    ends_ms = asked_ms + int(section.ttl_s * 1000)
    if section.output == "text":
        text: object = printed.decode("utf-8", "replace").strip()
    else:
        answer = _object(section, printed)
        text, life_s = answer.get("token"), answer.get("expires_in")
        if isinstance(life_s, (int, float)) and life_s > 0:
            ends_ms = asked_ms + int(life_s * 1000)
    if not isinstance(text, str) or not text or not all("!" <= char <= "~" for char in text):
        raise GrantRefused(f"{section.command} prints no secret that a header can carry")
    return Token(text, asked_ms, ends_ms)


def _object(section: CommandOutput, printed: bytes) -> Mapping[str, Any]:
    try:
        answer = parse(printed)
    except CodecError:
        answer = None
    if not isinstance(answer, dict):
        raise GrantRefused(f"{section.command} prints no JSON object")
    return answer


async def of_file(path: Path, clock: Clock) -> Token:
    """Return the token in a file; whoever writes it renews it in time.

    Raises:
        GrantRefused: there is none, or others may read it.
        ConnectorFault: what is there has expired.
    """
    now = clock.now_ms()
    text = await asyncio.to_thread(read_jwt, path)
    try:
        ends_s = parse(from_base64url(text.split(".")[1])).get("exp")  # the server verifies it
    except (CodecError, AttributeError):
        raise GrantRefused(f"{path} holds no JWT") from None
    ends_ms = int(ends_s * 1000) if isinstance(ends_s, (int, float)) else None
    if ends_ms is not None and ends_ms <= now:
        raise unsent(f"The token in {path} has expired and was not replaced.")
    return Token(text, now, ends_ms)
