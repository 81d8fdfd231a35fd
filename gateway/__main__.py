"""The `toolgate` command. The stdio bridge is chosen before anything slow is imported."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:2] == ["stdio"]:
        from gateway.bridge import main as bridge

        sys.exit(bridge(sys.argv[2:]))
    from gateway.cli import app

    app()


if __name__ == "__main__":
    main()
