"""The gateway a command is about: its configuration, its folder, its store."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gateway.app import Home, check_is_abreast, open_store
from gateway.cli.loaded import Loaded, load_config, load_whereabouts
from gateway.cli.output import Refused, fail_with
from gateway.model.clock import SystemClock
from gateway.model.errors import GatewayError
from gateway.store.ports import Store
from gateway.store.private_file import PrivateFileError

__all__ = ["AsJson", "ConfigPath", "home_of", "in_store", "loaded_from", "placed_by", "store_of", "with_store"]

ConfigPath = Annotated[Path, typer.Option(help="The configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
T = TypeVar("T")


def home_of(loaded: Loaded) -> Home:
    """Return the folder of the gateway."""
    return Home(loaded.path.parent)


def loaded_from(config: Path, *, as_json: bool = False) -> Loaded:
    """Return the configuration, or say what is wrong with it and exit with 1."""
    return load_config(config, as_json=as_json)


def placed_by(config: Path, *, as_json: bool = False, person: str = "") -> Loaded:
    """Return the configuration for a command that only looks at the record, or stops something.

    It is there as well where the rest of the file does not load here; not for a `person`, whose deeds policies decide.
    """
    return load_config(config, as_json=as_json) if person else load_whereabouts(config, as_json=as_json)


def in_store(loaded: Loaded, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` on the opened store.

    Raises:
        GatewayError: the store cannot answer.
        PrivateFileError: the gateway's own key cannot be used.
    """
    import asyncio

    async def run() -> T:
        store = store_of(loaded)
        try:
            await store.open()
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def store_of(loaded: Loaded) -> Store:
    """Return the store, not yet open.

    Raises:
        PrivateFileError: the gateway's own key cannot be used.
        StoreFault: a gateway of an earlier version is at work on it.
    """
    home = home_of(loaded)
    check_is_abreast(loaded.config, home)
    return open_store(loaded.config, home, SystemClock())


def with_store(loaded: Loaded, work: Callable[[Store], Awaitable[T]], *, as_json: bool = False) -> T:
    """Run `work` on the opened store; a store that cannot answer ends the command with 1."""
    try:
        return in_store(loaded, work)
    except GatewayError as error:
        fail_with(Refused(error.code, error.message, error.detail), as_json=as_json)
    except PrivateFileError as error:
        fail_with(Refused("private_file", str(error)), as_json=as_json)
