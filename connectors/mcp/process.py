"""A child process in its own group, which ends with the gateway however the gateway ends.

A guard (a shell waiting on a pipe that only the gateway holds) kills the group when that pipe closes, so a gateway that
is itself killed leaves nothing running. PDEATHSIG would miss grandchildren, which is where `npx` and `uvx` put the
server, and needs Python code between fork and exec. A process that leaves the group on its own escapes both.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from gateway.connector import Unavailable

__all__ = ["Child", "Command", "inherited_environment"]

_INHERITED: Final = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG")
_GUARD: Final = 'trap "" HUP INT TERM; read -r _; kill -s KILL -- "-$1"'
_STDOUT: Final = 1
_STDERR: Final = 2
_REAP_S: Final = 5.0
_LAST_WORDS_S: Final = 0.2


def inherited_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the gateway's environment that a child may see."""
    return {name: environ[name] for name in _INHERITED if name in environ}


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. `environment` is the whole of it; `stop_grace_s` is how long each step of stopping may take.

    `hint` says what to do when there is no such program.
    """

    program: str
    arguments: Sequence[str] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: str | None = None
    stop_grace_s: float = 2.0
    hint: str = ""


class Child(asyncio.SubprocessProtocol):
    """A running child: bytes in, bytes out, and the certainty that it ends.

    `on_output(data)` and `on_error_output(data)` get what it writes; `on_exit()` is called once nothing more will come.
    """

    def __init__(
        self, on_output: Callable[[bytes], None], on_error_output: Callable[[bytes], None], on_exit: Callable[[], None]
    ) -> None:
        self._on_output = on_output
        self._on_error_output = on_error_output
        self._on_exit = on_exit
        self._transport: asyncio.SubprocessTransport | None = None
        self._input: asyncio.WriteTransport | None = None
        self._guard: asyncio.subprocess.Process | None = None
        self._grace_s = 0.0
        self._exited = asyncio.Event()
        self._silent = False

    async def start(self, command: Command) -> None:
        """Start the child and its guard.

        Raises:
            Unavailable: the program is missing, or the system has no room for another process.
        """
        self._grace_s = command.stop_grace_s
        try:
            transport, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: self,
                command.program,
                *command.arguments,
                env=dict(command.environment),
                cwd=command.directory,
                start_new_session=True,
            )
            self._transport = transport
            self._guard = await asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                _GUARD,
                "toolgate-guard",
                str(transport.get_pid()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                env={},
            )
        except (OSError, ValueError) as error:
            what = f"{os.path.basename(command.program)!r} cannot be started. {command.hint}".rstrip()
            raise Unavailable(what, detail=str(error), sent=False) from error

    @property
    def running(self) -> bool:
        """Tell whether the child has been started, has not ended and can still answer."""
        return self._transport is not None and not self._silent and not self._exited.is_set()

    @property
    def unsent(self) -> int:
        """Bytes written that the child has not yet read from the gateway."""
        return self._input.get_write_buffer_size() if self._input is not None else 0

    def write(self, data: bytes) -> None:
        """Send bytes to the child's standard input; they are lost if it has ended."""
        if self._input is not None and not self._input.is_closing():
            self._input.write(data)

    def rest(self, seconds: float) -> None:
        """Read nothing of what the child writes for that long."""
        pipe = self._transport.get_pipe_transport(_STDOUT) if self._transport is not None else None
        if pipe is not None:
            output = cast(asyncio.ReadTransport, pipe)
            output.pause_reading()
            asyncio.get_running_loop().call_later(seconds, output.resume_reading)

    def kill(self) -> None:
        """End the child and its whole group at once, and listen to it no longer. `stop` still has to follow."""
        if self._transport is not None and not self._silent:
            _signal(self._transport.get_pid(), signal.SIGKILL)
            self._end()

    async def stop(self) -> None:
        """End the child and its whole group: close its input, SIGTERM, SIGKILL, each after a grace; then reap."""
        if self._transport is None:
            await self._dismiss_guard()
            return
        transport, group = self._transport, self._transport.get_pid()
        if self._input is not None:
            self._input.close()
        if not await self._gone_within(self._grace_s):
            _signal(group, signal.SIGTERM)
            await self._gone_within(self._grace_s)
        _signal(group, signal.SIGKILL)  # whatever is left of the group, also when its leader went quietly
        await self._gone_within(_REAP_S)
        transport.close()
        await self._dismiss_guard()
        self._transport = None

    async def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is None:
            return
        if guard.returncode is None:
            guard.kill()
        await guard.wait()
        if guard.stdin is not None:
            guard.stdin.close()

    async def _gone_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    # --- asyncio.SubprocessProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        process = cast(asyncio.SubprocessTransport, transport)  # uvloop's own classes do not inherit from asyncio's
        self._input = cast(asyncio.WriteTransport, process.get_pipe_transport(0))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDOUT:
            if not self._silent:
                self._on_output(data)
        elif fd == _STDERR:
            self._on_error_output(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == _STDOUT:
            self._end()

    def process_exited(self) -> None:
        """Its last answer may still be in the pipe, and a grandchild may hold the pipe open: wait, but not for long."""
        self._exited.set()
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._end)

    def _end(self) -> None:
        if not self._silent:
            self._silent = True
            self._on_exit()


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # nothing of it is left
        return
