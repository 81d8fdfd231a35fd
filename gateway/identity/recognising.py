"""Whether a person at a web page is the user that an agent acts for; nothing but proof says so."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.identity.config import AgentConfig, AuthConfig, JwtAuth, LoginSection
from gateway.identity.jwt_claims import read_jwt, subject_name
from gateway.identity.jwt_verifier import JwtVerifier
from gateway.identity.key_source import KeyRing
from gateway.identity.people import PeopleDoor
from gateway.identity.refusal import refused
from gateway.model.clock import Clock
from gateway.model.identity import Identity

__all__ = ["Known", "Recognising"]

_AT_LEAST_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Known:
    """What the configuration says of agents, of logins, and of people: all the names of each."""

    agents: Sequence[AgentConfig]
    logins: Sequence[LoginSection]
    people: Mapping[str, Collection[str]]
    clock_skew_s: int

    def jwt(self, issuer: str) -> JwtAuth | None:
        """Return how the JWTs of an issuer are checked, if any agent has such."""
        found = (agent.auth.jwt for agent in self.agents if agent.auth.jwt is not None)
        return next((jwt for jwt in found if jwt.issuer == issuer), None)

    def login(self, issuer: str) -> LoginSection | None:
        """Return where the users of an issuer log in."""
        return next((each for each in self.logins if each.issuer == issuer and self.jwt(issuer) is not None), None)

    def persons(self, user: str, issuer: str) -> frozenset[str]:
        """Return the people who are the user of that name.

        Where agents have several issuers, a name alone says nothing: each may have a user called so.
        """
        issuers = {agent.auth.jwt.issuer for agent in self.agents if agent.auth.jwt is not None}
        if issuers != {issuer}:
            return frozenset()
        return frozenset(name for name, names in self.people.items() if user in names)


class Recognising:
    """Recognises users (name, issuer): by a login at the issuer that vouches for the name, or by a person's token.

    `known` tells what is configured now.
    """

    def __init__(self, known: Callable[[], Known], door: PeopleDoor, keys: KeyRing, clock: Clock) -> None:
        self._known = known
        self._door = door
        self._keys = keys
        self._clock = clock

    def login(self, issuer: str) -> LoginSection | None:
        """Return where the users of an issuer log in."""
        return self._known().login(issuer)

    def is_person(self, user: tuple[str, str]) -> bool:
        """Tell whether a user is one of the configured people."""
        return bool(self._known().persons(*user))

    async def by_token(self, bearer: str, user: tuple[str, str]) -> str:
        """Return which person a token shows to be the user.

        Raises:
            IdentityFault: it is nobody's, or another's.
            StoreFault: it cannot be checked right now.
        """
        person = await self._door.identify(bearer)
        if person not in self._known().persons(*user):
            raise refused("a token of somebody else")
        return person

    async def by_login(self, id_token: str, user: tuple[str, str], nonce: str) -> None:
        """Return if an ID token that answers `nonce` is the user's.

        Raises:
            IdentityFault: it is not.
            StoreFault: it cannot be checked right now.
        """
        await self._shown(id_token, user, nonce)

    async def _shown(self, id_token: str, user: tuple[str, str], nonce: str) -> Identity:
        known, (name, issuer) = self._known(), user
        jwt, login = known.jwt(issuer), known.login(issuer)
        if jwt is None or login is None:
            raise refused("nobody logs in there any more")
        expected = jwt.model_copy(update={"audience": login.client_id, "subject": name, "client": ""})
        whoever = {"person": AgentConfig(auth=AuthConfig(jwt=expected))}
        identity = await JwtVerifier(whoever, self._keys, self._clock, skew_s=known.clock_skew_s).verify(id_token)
        claims = read_jwt(id_token).claims
        if identity.delegation or claims.get("nonce") != nonce or claims.get("azp", login.client_id) != login.client_id:
            raise refused("an ID token for another login")
        return identity

    def issuers(self) -> Sequence[str]:
        """Return where people can log in."""
        known = self._known()
        return [each.issuer for each in known.logins if known.login(each.issuer) is not None]

    async def person_of_token(self, bearer: str) -> str:
        """Return which of the people a token is of. Raises as `by_token`."""
        person = await self._door.identify(bearer)
        if person not in self._known().people:
            raise refused("a token of nobody who is configured")
        return person

    async def person_of_login(self, id_token: str, issuer: str, nonce: str) -> tuple[str, Callable[[], Awaitable[str]]]:
        """Return which of the people an ID token that answers `nonce` is of, and what tells that it still is.

        It is until it expires: its issuer may know better by then. For a minute a login holds in any case.

        Raises:
            IdentityFault: of nobody, or of more than one.
            StoreFault: it cannot be checked right now.
        """
        claimed = subject_name(read_jwt(id_token).claims.get("sub"))
        identity = await self._shown(id_token, (claimed, issuer), nonce)
        until_ms = max(identity.expires_at_ms or 0, self._clock.now_ms() + _AT_LEAST_MS)

        async def still() -> str:
            if self._clock.now_ms() >= until_ms:
                raise refused("a login that has had its time")
            persons = self._known().persons(claimed, issuer)
            if len(persons) != 1 or self._known().login(issuer) is None:
                raise refused("a login of nobody who is configured, or of more than one")
            return min(persons)

        return await still(), still
