"""A connector written in Python: what an author extends, and what the gateway makes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args, get_origin

from pydantic import ValidationError

from gateway import __version__
from gateway.codec import dump
from gateway.connector.credential import Credentials, Sought, as_written
from gateway.connector.declaration import DeclaredTool, declared_tools
from gateway.connector.failures import Action, Failures
from gateway.connector.faults import Rejected, TimedOut, Unavailable, plain
from gateway.connector.scales import Scales
from gateway.connector.section import ConnectorConfig
from gateway.connector.upstream import LOOKUP, ToolCall, ToolsOnly, ToolTraits, Upstream
from gateway.model.clock import Clock, IdSource, RandomIds, SystemClock
from gateway.model.errors import ConnectorFault, GatewayError

if TYPE_CHECKING:
    import httpx2

__all__ = ["Connector", "ConnectorConfig", "Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the gateway lends a connector.

    `redact` takes secrets out of text before it is logged. `server` is the upstream's name in the configuration.
    Files that a section names are relative to `folder`, the gateway's own; by default the directory it runs in.
    `lends` says, by server name, which client capabilities some policy may let the server use: what is announced to it
    where no single client is behind a connection. `credential` gives what a server is shown.
    """

    clock: Clock = field(default_factory=SystemClock)
    ids: IdSource = field(default_factory=RandomIds)
    redact: Callable[[str], str] = str
    version: str = __version__
    server: str = ""
    folder: Path = Path()
    lends: Callable[[str], Mapping[str, Any]] = lambda server: {}
    credential: Credentials = as_written


ConfigT = TypeVar("ConfigT", bound=ConnectorConfig)


class Connector(Generic[ConfigT]):
    """One API as a set of tools. Extend it, set `name`, and declare tools with `@tool`.

    `open` and `close` may be overridden; `close` runs after a failed `open` too, and `open` may follow `close`. Inside
    both, and in tools, `self.config` is the validated configuration and `self.http` a ready HTTP client. A tool says
    what went wrong with `Unavailable`, `TimedOut`, `Rejected` or `CredentialExpired`, and leaves retries, time limits,
    logging and redaction to the gateway.

    `self.http` raises for every answer that is no success. `failures` says over the default table what a status or a
    class of them means (`{409: "unavailable"}`), or that a tool reads it itself (`{404: ANSWER}`).
    """

    name: ClassVar[str]
    failures: ClassVar[Mapping[str | int, Action | str]] = {}
    means: ClassVar[Failures] = Failures({})
    declared: ClassVar[Mapping[str, DeclaredTool]] = {}
    config_type: ClassVar[type[ConnectorConfig]] = ConnectorConfig

    config: ConfigT
    http: "httpx2.AsyncClient"

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.declared = declared_tools(cls)
        try:
            cls.means = Failures({str(status): meaning for status, meaning in cls.failures.items()})
        except (ValueError, AttributeError) as error:
            raise TypeError(f"{cls.__name__}: failures: {error}") from None
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is not None and issubclass(get_origin(base), Connector):
                cls.config_type = next((arg for arg in get_args(base) if isinstance(arg, type)), cls.config_type)

    async def open(self) -> None:
        """Get ready. Raises `ConnectorFault` if the other side cannot be used."""

    async def close(self) -> None:
        """Leave nothing behind."""

    @classmethod
    def configure(cls, settings: Mapping[str, Any], environ: Mapping[str, str] | None) -> ConfigT:
        """Return the validated configuration.

        `environ` is what `${env:NAME}` in a `Secret` reads; None says that all references have been replaced before.

        Raises:
            pydantic.ValidationError: an unknown key, a missing or a wrong value; its text shows no values.
        """
        config: Any = cls.config_type.model_validate(dict(settings), context={"environ": environ})
        return config  # type: ignore[no-any-return]  # config_type is ConfigT, which a ClassVar cannot say

    @classmethod
    def sought(cls, config: ConfigT, server: str) -> Sought | None:
        """Return what the section of `server` says of a credential that the gateway keeps, or None."""
        del config, server
        return None

    @classmethod
    def upstream(cls, config: ConfigT, surroundings: Surroundings) -> Upstream:
        """Return the live form of this connector, not yet open."""
        return _PluginUpstream(cls(config))


class _PluginUpstream(ToolsOnly):
    """An `Upstream` over a `Connector`: schema, results and faults in MCP's terms."""

    def __init__(self, connector: Connector[Any]) -> None:
        self._connector = connector
        self._opened = False
        self._scales = Scales()

    async def open(self) -> None:
        from gateway.connector.client import PluginClient  # and the HTTP client, which only plugins need

        config = self._connector.config
        self._connector.http = PluginClient(
            self._connector.means,
            base_url=getattr(config, "base_url", ""),
            follow_redirects=False,
            event_hooks={"response": [self._scales.weigh]},
        )
        self._opened = True
        with _ForeignCode(self._connector):
            await self._connector.open()

    async def close(self) -> None:
        if not self._opened:
            return
        self._opened = False
        try:
            with _Silence():
                await self._connector.close()
        finally:
            await self._connector.http.aclose()

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        return [declared.definition for declared in self._connector.declared.values()]

    def traits(self, tool: str) -> ToolTraits | None:
        declared = self._connector.declared.get(tool)
        return declared.traits if declared else None

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        declared = self._connector.declared.get(call.tool)
        if declared is None:
            raise Rejected(f"{self._connector.name} has no tool {plain(call.tool)!r}.")
        if not self._opened:
            raise Unavailable(f"{self._connector.name} is not open.", sent=False)
        arguments = _arguments(declared, call)
        method = declared.lookup if call.method == LOOKUP else declared.method
        if not method:
            raise Rejected(f"{declared.name} cannot be looked up.")
        with _ForeignCode(self._connector), self._scales.held(call.measure):
            value = await getattr(self._connector, method)(_with_key(declared, call), **arguments)
            return _result(declared, value)


def _arguments(declared: DeclaredTool, call: ToolCall) -> Mapping[str, Any]:
    try:
        model = declared.parameters.model_validate(dict(call.arguments))
    except ValidationError as error:
        places = ", ".join(".".join(map(str, each["loc"])) + ": " + each["msg"] for each in error.errors()[:5])
        raise Rejected(f"Arguments of {declared.name} are not valid: {plain(places)}.") from None
    fields = declared.parameters.model_fields
    return {str(fields[name].alias): getattr(model, name) for name in model.model_fields_set}


def _with_key(declared: DeclaredTool, call: ToolCall) -> ToolCall:
    """Give a tool that needs a key one, the same on every attempt and lookup: the call's id where there is no other."""
    if call.idempotency_key is not None or not (declared.traits.idempotent or declared.lookup):
        return call
    return replace(call, idempotency_key=call.call_id)


def _result(declared: DeclaredTool, value: Any) -> Mapping[str, Any]:
    if declared.returns is None and declared.wrapped:
        return {"content": []}
    if declared.returns is not None:
        value = declared.returns.dump_python(value, mode="json", warnings="error")
    text = value if isinstance(value, str) else dump(value).decode()
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
    if declared.returns is not None:
        result["structuredContent"] = {"result": value} if declared.wrapped else value
    return result


class _ForeignCode:
    """Turns whatever a plugin raises into a `ConnectorFault`; a bug after a request went out is an unknown outcome.

    The text of a foreign exception may hold a secret: only its type is told, and only to the ledger.
    """

    def __init__(self, connector: Connector[Any]) -> None:
        self._name = connector.name
        self._means = connector.means

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import httpx2

        if not isinstance(error, Exception) or isinstance(error, GatewayError):
            return
        detail = f"{type(error).__module__}.{type(error).__qualname__}"
        if isinstance(error, (httpx2.TimeoutException, TimeoutError)):
            raise TimedOut(f"{self._name} did not answer in time.", detail=detail) from error
        if isinstance(error, httpx2.HTTPStatusError):
            answer = error.response  # its text may hold a secret, so only the status is told
            wait = answer.headers.get("Retry-After")
            raise self._means.fault(answer.status_code, "", wait, self._name) from error
        if isinstance(error, (httpx2.TransportError, OSError)):
            raise Unavailable(f"{self._name} cannot be reached.", detail=detail) from error
        raise ConnectorFault(f"{self._name} failed.", code="contract_broken", detail=detail) from error


class _Silence:
    """`close` never raises, whatever a plugin does in its own."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return isinstance(error, Exception)
