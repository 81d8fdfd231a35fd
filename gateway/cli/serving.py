"""Serving until told to stop, and going by the files as they change. Without typer, which would stay in memory."""

import asyncio
import fcntl
import gc
import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from gateway import __version__
from gateway.app import Gateway, Home
from gateway.catalog.lock import LockError
from gateway.cli.following import Following
from gateway.cli.loaded import Loaded, load_config
from gateway.cli.logs import log_to_stderr
from gateway.cli.memory import give_back, keep_large_blocks_apart
from gateway.connector.registry import ConnectorLoadError
from gateway.model.errors import GatewayError
from gateway.redaction.redactor import Redactor
from gateway.store.private_file import PrivateFileError
from gateway.transport.server import listen, serving

__all__ = ["announced", "serve", "take_descriptors", "told_to_stop"]

_LOG = logging.getLogger("gateway")
_LEASE_GRACE_S = 5.0
_DESCRIPTORS = 65_536
_SWITCH_S = 0.0005  # the writer thread waits this long for the loop at most (measured: effects 10 % less CPU)


def serve(config: Path, *, lease: bool, standby: bool) -> None:
    """Serve by the file `config` until stopped, or say why not and exit with 1.

    With `lease`, stop once the last stdio bridge has gone; with `standby`, wait while another gateway is up here.
    """
    loaded = load_config(config)
    try:
        with _only_one(Home(loaded.path.parent).private / "up.lock", standby) as waited:
            _run(load_config(config) if waited else loaded, lease)  # the files may have changed meanwhile
    except (GatewayError, ConnectorLoadError, LockError, PrivateFileError, OSError) as error:
        _fail(error)


def _run(loaded: Loaded, lease: bool) -> None:
    import uvloop

    redactor = Redactor(loaded.secrets)
    log_to_stderr(redactor, loaded.config.server.log)
    sys.setswitchinterval(_SWITCH_S)
    keep_large_blocks_apart()
    take_descriptors()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(loaded, redactor, lease))


def take_descriptors() -> None:
    """Have as many open files as this process may: clients, servers and children each take some.

    The usual 1024 are for programs that `select`. Beyond the limit, whoever connects is turned away without a word.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):  # the system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _fail(error: Exception) -> NoReturn:
    from gateway.cli.output import Refused, fail_with

    if isinstance(error, GatewayError):
        fail_with(Refused(error.code, error.message, error.detail))
    codes = {ConnectorLoadError: "connector", LockError: "lock", PrivateFileError: "private_file"}
    fail_with(Refused(codes.get(type(error), "cannot_serve"), str(error), "toolgate doctor says what is wrong"))


async def _serve(loaded: Loaded, redactor: Redactor, lease: bool) -> None:
    server = loaded.config.server
    home = Home(loaded.path.parent)
    listener = listen(server.host, server.port)
    host, port = listener.getsockname()[:2]
    following = Following(loaded, home, redactor)
    gateway = Gateway(loaded.config, home, redactor)
    try:
        await gateway.start(server.host, port)
        _collect_less()
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        async with serving(gateway.asgi, listener):
            stop = told_to_stop()  # before anybody knows that there is something to stop
            with announced(home.private / "run.json", url):
                _LOG.info("toolgate %s serves %s/mcp", __version__, url)
                await _until_stopped(gateway, following, lease, stop)
            gateway.stop()  # before the server waits for open streams to end
    finally:
        await gateway.close()
        listener.close()


def _collect_less() -> None:
    """Take what start-up made out of the collector's sight, and have it look more rarely: calls leave few cycles.

    Measured: at Python's own threshold of 700 objects, collecting takes 2 % of a call's instructions.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@contextmanager
def _only_one(path: Path, standby: bool) -> Iterator[bool]:
    """One gateway per folder: the kernel frees the lock however the process ends. Say whether it was waited for."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            waited = False
        except OSError:
            if not standby:
                from gateway.cli.output import Refused, fail_with

                advice = "see it with: toolgate status; to take its place once it has gone: toolgate up --standby"
                fail_with(Refused("cannot_serve", "a gateway is already up in this folder", advice))
            sys.stderr.write("a gateway is up in this folder: waiting to serve in its place\n")
            fcntl.flock(file, fcntl.LOCK_EX)
            waited = True
        yield waited


@contextmanager
def announced(path: Path, url: str) -> Iterator[None]:
    """Say where the gateway is, for the bridge and for `toolgate status`."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"pid": os.getpid(), "url": url, "version": __version__, "since": time.time()}))
    temporary.chmod(0o600)
    temporary.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def told_to_stop() -> asyncio.Event:
    """Return what is set once the process is told to stop."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    return stop


async def _until_stopped(gateway: Gateway, following: Following, lease: bool, stop: asyncio.Event) -> None:
    watching = asyncio.create_task(following.tell(gateway, stop))
    leaving = asyncio.create_task(_last_bridge_left(gateway, stop)) if lease else None
    beside = [*filter(None, (watching, leaving)), asyncio.create_task(give_back())]
    await stop.wait()
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)


async def _last_bridge_left(gateway: Gateway, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await gateway.leases.left.wait()
        await asyncio.sleep(_LEASE_GRACE_S)  # a host that restarts its bridge finds the gateway still there
        if gateway.leases.left.is_set():
            stop.set()
