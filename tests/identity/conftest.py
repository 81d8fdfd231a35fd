"""What the identity tests stand on."""

from collections.abc import AsyncIterator

import pytest

from gateway.store.memory import MemoryStore
from tests.identity.doubles import CountingIds, HandClock, Signer
from tests.identity.issuer import Issuer


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def ids() -> CountingIds:
    return CountingIds()


@pytest.fixture
def store(clock: HandClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer.running() as running:
        yield running


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="session")
def rsa_signer() -> Signer:
    return Signer("rsa", "RS256")
