"""Finding the gateway of a configuration file, and starting it when nobody has."""

import fcntl
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.bridge.channel import Channel, Exchange, Lost, NotSent

__all__ = ["GatewayDown", "Home", "Launcher", "Line"]

_POLL_S: Final = 0.02
_PROBE_S: Final = 5.0
_STARTS: Final = 2  # a gateway that is just leaving still holds its port for the first one


class GatewayDown(Exception):
    """There is no gateway to talk to and none could be started; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where the gateway of a configuration file keeps what a local client needs: `.toolgate/` beside the file."""

    config: Path

    @property
    def folder(self) -> Path:
        return self.config.parent / ".toolgate"

    def address(self) -> str:
        """Return the URL of the gateway that says it is running, or ""; a run file outlives a killed process."""
        try:
            run = json.loads((self.folder / "run.json").read_bytes())
            os.kill(int(run["pid"]), 0)
            return str(run["url"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def bearer(self, agent: str) -> str:
        """Return the credential of a local agent, made from a key only the user can read.

        Raises:
            GatewayDown: the key is missing.
        """
        try:
            key = (self.folder / "local.key").read_bytes()
        except OSError as error:
            raise GatewayDown(f"The local key cannot be read: {error}. `toolgate doctor` checks it.") from error
        return f"tgl.{agent}.{hmac.new(key, agent.encode(), hashlib.sha256).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Line:
    """A live gateway: where to send, what to send with, and the lease that keeps it up while we are here."""

    channel: Channel
    bearer: str
    lease: Exchange

    def leave(self) -> None:
        self.lease.abort()
        self.channel.close()


class Launcher:
    """Hands out the line to the gateway, starting the gateway first if need be; safe from any thread."""

    def __init__(self, home: Home, agent: str, command: Sequence[str] = (), patience_s: float = 30.0) -> None:
        self._home = home
        self._agent = agent
        gateway = (sys.executable, "-P", "-m", "gateway")  # -P: a folder named gateway beside the file is not ours
        self._command = command or (*gateway, "up", "--config", str(home.config), "--lease")
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._line: Line | None = None
        self._watcher: threading.Thread | None = None

    def line(self) -> Line:
        """Return a line that was live when last heard of.

        Raises:
            GatewayDown: no gateway answers and none could be started.
        """
        with self._lock:
            if self._line is None:
                self._line = self._probe() or self._start()
                self._watcher = threading.Thread(target=self._watch, args=(self._line,), daemon=True)
                self._watcher.start()
            return self._line

    def current(self) -> Line | None:
        """Return the line there is, if any; starts nothing, and does not wait for a start that is under way."""
        return self._line

    def lost(self, line: Line) -> None:
        """Note that this line is dead; the next caller gets a new one."""
        with self._lock:
            if self._line is line:
                self._line = None
        line.leave()

    def leave(self) -> None:
        """Give the lease back."""
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            line.leave()
        if self._watcher is not None:
            self._watcher.join(_PROBE_S)

    def _watch(self, line: Line) -> None:
        """The lease ends with the gateway, so its end is how we hear of it first."""
        with suppress(Lost):
            line.lease.drain()
        self.lost(line)
        line.lease.end()

    def _probe(self) -> Line | None:
        """Take a lease of the gateway that says it runs; None when it does not answer as ours would."""
        url = self._home.address()
        if not url:
            return None
        bearer = self._home.bearer(self._agent)
        channel = Channel(url)
        try:
            lease = channel.send("GET", "/-/lease", {"Authorization": f"Bearer {bearer}"}).begin(_PROBE_S)
            if lease.status == 200:
                return Line(channel, bearer, lease)
            lease.end()
        except (NotSent, Lost):
            return None
        channel.close()
        if lease.status in {401, 403}:
            raise GatewayDown(
                f"The gateway at {url} does not let the agent '{self._agent}' in by the key of this machine. "
                f"In {self._home.config} it takes `agents: {{ {self._agent}: {{ auth: {{ local: true }} }} }}` "
                f"(`token: true` beside it, where it has a token too); or look with `toolgate doctor`."
            )
        return None

    def _start(self) -> Line:
        deadline = time.monotonic() + self._patience_s
        try:
            self._home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _alone(self._home.folder / "start.lock", deadline):
                return self._probe() or self._spawn_until(deadline)
        except OSError as error:
            raise GatewayDown(f"The gateway could not be started: {error}.") from error

    def _spawn_until(self, deadline: float) -> Line:
        log = self._home.folder / "gateway.log"
        said_before = log.stat().st_size if log.exists() else 0
        ended = 0
        for _ in range(_STARTS):
            child = self._spawn(log)
            while time.monotonic() < deadline:
                line = self._probe()
                if line is not None:
                    return line
                if child.poll() is not None:
                    ended = child.returncode
                    break
                time.sleep(_POLL_S)
        why = f"it ended with exit code {ended}" if ended else f"it did not answer within {self._patience_s:.0f} s"
        raise GatewayDown(
            f"The gateway could not be started: {why}. {_tail(log, said_before)}"
            f"Try `toolgate up --config {self._home.config}`; its output is in {log}."
        )

    def _spawn(self, log: Path) -> "subprocess.Popen[bytes]":
        """Start the gateway in a session of its own, so that it outlives this host's pipes and terminal."""
        with log.open("ab") as output:
            log.chmod(0o600)
            child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self._command,
                cwd=self._home.config.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        threading.Thread(target=child.wait, daemon=True).start()  # leave no zombie behind
        return child


@contextmanager
def _alone(path: Path, deadline: float) -> Iterator[None]:
    """Hold the lock file until the block ends, so that of several bridges one starts the gateway."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise GatewayDown("Another bridge has been starting the gateway for too long.") from None
                time.sleep(_POLL_S)
        yield


def _tail(log: Path, start: int) -> str:
    """Return the last lines written since `start`, for the person who reads the error."""
    with log.open("rb") as text:
        text.seek(start)
        lines = text.read().decode(errors="replace").strip().splitlines()[-5:]
    return f"It said: {' / '.join(lines)}. " if lines else ""
