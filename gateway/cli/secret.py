"""`toolgate secret`: values that `${secret:name}` in the configuration stands for, kept encrypted."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import Refused, done, emit, fail_with
from gateway.cli.place import AsJson, ConfigPath
from gateway.credentials.fault import CredentialFault
from gateway.credentials.sealing import StoreKey
from gateway.credentials.secrets import SecretStore

__all__ = ["commands"]

Name = Annotated[str, typer.Argument(help="The secret's name.")]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate secret`."""
    group = typer.Typer(help="The encrypted secret store.", no_args_is_help=True)
    group.command("set")(set_secret)
    group.command("list")(list_secrets)
    group.command("rm")(remove)
    group.command("keyring")(keyring)
    return group


def set_secret(name: Name, config: ConfigPath = Path("gateway.yaml")) -> None:
    """Keep a secret: asked for without echo, or read from a pipe; never an argument, which other users can see."""
    value = typer.prompt(f"Value of {name}", hide_input=True) if sys.stdin.isatty() else sys.stdin.read().strip("\n")
    try:
        _store(config).set(name, value)
    except CredentialFault as error:
        fail_with(Refused(error.code, str(error)))
    done(f"kept {name}; write ${{secret:{name}}} where it belongs")


def list_secrets(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """List the names, never the values."""
    try:
        names = sorted(_store(config).list())
    except CredentialFault as error:
        fail_with(Refused(error.code, str(error)), as_json=as_json)
    emit(names, names or ["no secrets"], as_json=as_json)


def remove(name: Name, config: ConfigPath = Path("gateway.yaml")) -> None:
    """Forget a secret."""
    try:
        _store(config).remove(name)
    except CredentialFault as error:
        fail_with(Refused(error.code, str(error)))
    done(f"removed {name}")


def keyring(config: ConfigPath = Path("gateway.yaml")) -> None:
    """Keep the store's key in the operating system's keyring instead of in a file."""
    try:
        StoreKey(_folder(config), os.environ).move_to_keyring()
    except CredentialFault as error:
        fail_with(Refused(error.code, str(error)))
    done("the key is in the keyring; the gateway needs it unlocked when it starts")


def _folder(config: Path) -> Path:
    return config.expanduser().absolute().parent / ".toolgate"


def _store(config: Path) -> SecretStore:
    return SecretStore(_folder(config), os.environ)
