"""One gateway a file, with an agent for every way in; after each attack it still answers a good call."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.credentials.secrets import SecretStore
from tests.live.front.attack import AUDIENCE, ISSUER, SECRET, SIGNER, peer
from tests.live.inside import Inside, inside
from tests.live.raw import ERAS, probe_section, probes

JAY = f"""
  jay:
    auth: {{ jwt: {{ issuer: "{ISSUER}", audience: "{AUDIENCE}", subject: jay, jwks_file: "JWKS" }} }}
    allow: ["*"]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("front")
    (home / "jwks.json").write_text(json.dumps({"keys": [SIGNER.jwk]}), encoding="utf-8")
    (home / ".toolgate").mkdir(mode=0o700)
    SecretStore(home / ".toolgate", {}).set("probe_key", SECRET)
    section = probe_section(home / "probe", env=', PROBE_SECRET: "${secret:probe_key}"')
    config = probes(section, JAY.replace("JWKS", str(home / "jwks.json")))
    async with inside(home, config) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def still_answers(gate: Inside) -> AsyncIterator[None]:
    yield
    for era in ERAS:
        good = await peer(gate, era)
        assert (await good.call("probe_echo", {"still": "here"})).code == "ok"
