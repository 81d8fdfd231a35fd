"""The lock file is one that pip can install, not only the tool that writes it."""

import re
from importlib import metadata

from .source import ROOT

LOCKED = re.compile(r"^([A-Za-z0-9._-]+)(\[[a-z0-9,-]+\])?==", re.MULTILINE)
WITH_EXTRAS = re.compile(r"^([A-Za-z0-9._-]+)(\[[A-Za-z0-9,-]+\])")


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_a_locked_package_needs_with_extras_is_locked_with_them() -> None:
    """Under hashes, older pip releases take `coverage[toml]` for another package than `coverage` and fail on it."""
    locked = {_canonical(name): extras for name, extras in LOCKED.findall((ROOT / "requirements.lock").read_text())}
    needed = {
        (_canonical(wanted[1]), wanted[2])
        for name in locked
        for requirement in _requirements(name)
        if "extra ==" not in requirement
        and (wanted := WITH_EXTRAS.match(requirement))
        and _canonical(wanted[1]) in locked
    }

    assert needed, "nothing locked needs an extra: this test looks at nothing"
    assert {(name, extras) for name, extras in needed if locked[name] != extras} == set()


def _requirements(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # locked for another platform or Python
        return []
