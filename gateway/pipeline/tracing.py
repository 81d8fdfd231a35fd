"""Tells a collector of calls, as spans over OTLP, when they have ended.

The ledger is what is told from, as with events: no call waits for a collector, and nothing is lost while there is none.
"""

import asyncio
import logging
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.ledger.trace import CallLine, line_of, one_line
from gateway.model.clock import Clock
from gateway.model.errors import StoreFault
from gateway.pipeline.outbox import Place, last_seq
from gateway.pipeline.spans import export_of
from gateway.pipeline.telling import Telling, posted
from gateway.store.ports import Event, EventFilter, EventKind, Ledger
from gateway.store.private_file import PrivateFileError
from gateway.telemetry.config import TracesSection

if TYPE_CHECKING:
    import httpx2

__all__ = ["Tracing"]

_LOG: Final = logging.getLogger(__name__)
_NAME: Final = "traces"
_EVERY_S: Final = 1.0
_BATCH: Final = 100
_TIMEOUT_S: Final = 10.0


class Tracing:
    """Exports spans to one collector, if there is one."""

    def __init__(self, ledger: Ledger, section: TracesSection | None, private: Path, telling: Telling) -> None:
        self._ledger = ledger
        self._section = section
        self._place = Place(private / "traces.seq")
        self._telling = telling

    async def watch(self, environment: str, clock: Clock) -> None:
        """Export, until cancelled. A new collector is told of what ends from now on."""
        if self._section is None:
            return
        import httpx2  # as in the outbox

        headers = {name: value.get_secret_value() for name, value in self._section.headers.items()}
        headers["content-type"] = "application/x-protobuf"
        async with httpx2.AsyncClient(
            headers=headers, timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False
        ) as http:
            while True:
                try:
                    more = await self._catch_up(http, self._section.url, environment)
                except (StoreFault, PrivateFileError) as error:
                    self._telling.problems[_NAME], more = str(error), False
                    _LOG.error("spans are not exported for now: %s", error)
                if not more:
                    await clock.sleep(_EVERY_S)

    async def _catch_up(self, http: "httpx2.AsyncClient", url: str, environment: str) -> bool:
        """Export what ended since; say whether there may be more of it already."""
        seq = await asyncio.to_thread(self._place.read)
        if seq is None:
            seq = await last_seq(self._ledger)
            await asyncio.to_thread(self._place.write, seq)
        found = [event async for event in self._ledger.events(EventFilter(after_seq=seq, limit=_BATCH))]
        lines = [line for event in found if (line := await self._ended(event)) is not None]
        if lines:
            body = await asyncio.to_thread(_encoded, export_of(lines, environment))
            what = f"what ended up to event {found[-1].seq}"
            await self._telling.until_taken(_NAME, what, lambda: posted(http.post(url, content=body)))
        if found:
            await asyncio.to_thread(self._place.advance, seq, found[-1].seq)
        return len(found) == _BATCH

    async def _ended(self, event: Event) -> CallLine | None:
        """Return the call of which an event says that it ended, but for those whose doubt ended later."""
        if event.kind is EventKind.CALL_RECORDED:
            return line_of(event, None)
        return await one_line(self._ledger, event.call_id) if event.kind is EventKind.CALL_FINISHED else None


def _encoded(export: dict[str, Any]) -> bytes:
    """Return an export request as every collector takes it: in protobuf."""
    from google.protobuf.json_format import ParseDict  # which only those gateways need that export anything
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for span in export["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in {"traceId", "spanId", "parentSpanId"} & span.keys():  # in hexadecimal for OTLP, if not for protobuf
            span[name] = b64encode(bytes.fromhex(span[name])).decode()
    return bytes(ParseDict(export, ExportTraceServiceRequest()).SerializeToString())
