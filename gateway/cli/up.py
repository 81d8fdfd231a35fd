"""`toolgate up`, as it is read where it is not asked for in the plainest way (gateway/__main__.py)."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.serving import serve

__all__ = ["up"]


def up(
    config: Annotated[Path, typer.Option(help="The configuration file.")] = Path("gateway.yaml"),
    lease: Annotated[bool, typer.Option(help="Stop once the last stdio bridge has gone.", hidden=True)] = False,
    standby: Annotated[
        bool, typer.Option(help="While another gateway is up in this folder, wait; then serve in its place.")
    ] = False,
) -> None:
    """Serve agents until stopped (Ctrl-C); changes to the configuration and policies take effect at once."""
    serve(config, lease=lease, standby=standby)
