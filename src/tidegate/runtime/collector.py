"""The way of spans to a collector: OTLP over HTTP, from a thread, through a queue that is bounded.

Whatever the collector does, whoever ends a span goes on at once: above the bound spans are dropped, and what the
collector does not take within a few seconds is lost. Both are counted, and told once until it is well again. Only
`telemetry` imports this, so that a gateway without it never loads the library.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import MutableMapping, Sequence

import anyio.to_thread
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer

from tidegate import __version__, log
from tidegate.runtime.watch import SpanOutcome

MAX_WAITING = 2_048  # spans, those under way to the collector included
BATCH = 256
EVERY_MS = 5_000
PATIENCE_S = 5.0  # of one batch, repetitions included
STOP_S = 2.0
MAX_ATTRIBUTE_CHARS = 256
ERROR_CHARS = 300
PATH = "/v1/traces"

_log = log.get("telemetry")


class Collector:
    """A collector of spans; `tracer` makes them."""

    def __init__(self, endpoint: str) -> None:
        #: since the start
        self.counts: MutableMapping[SpanOutcome, int] = Counter(dict.fromkeys(SpanOutcome, 0))
        url = endpoint.rstrip("/").removesuffix(PATH) + PATH
        self._exporter = _Exporter(OTLPSpanExporter(endpoint=url, timeout=PATIENCE_S), self.counts)
        self._batches = BatchSpanProcessor(
            self._exporter,
            max_queue_size=MAX_WAITING,
            max_export_batch_size=BATCH,
            schedule_delay_millis=EVERY_MS,
        )
        self._door = _Door(self._batches, self.counts)
        provider = TracerProvider(
            resource=Resource.create({"service.name": "tidegate", "service.version": __version__}),
            span_limits=SpanLimits(max_span_attribute_length=MAX_ATTRIBUTE_CHARS),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._door)
        self.tracer: Tracer = provider.get_tracer("tidegate", __version__)

    @property
    def waiting(self) -> int:
        """How many spans have not come to their end yet."""
        return self._door.waiting

    async def close(self) -> None:
        """Send what waits; after two seconds nothing more is begun or repeated."""
        async with asyncio.TaskGroup() as tasks:
            patience = tasks.create_task(self._lose_patience())
            await anyio.to_thread.run_sync(self._batches.shutdown)
            patience.cancel()

    async def _lose_patience(self) -> None:
        await asyncio.sleep(STOP_S)
        self._exporter.stop()


class _Door(SpanProcessor):
    """Lets no more spans wait than fit."""

    def __init__(self, inner: SpanProcessor, counts: MutableMapping[SpanOutcome, int]) -> None:
        self._inner = inner
        self._counts = counts
        self._taken = 0

    @property
    def waiting(self) -> int:
        """How many were taken and neither sent nor lost."""
        return self._taken - self._counts[SpanOutcome.SENT] - self._counts[SpanOutcome.FAILED]

    def on_start(self, span: Span, parent_context: object = None) -> None:
        """Take no notice."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended, or drop it; what is not sampled was never wanted."""
        if not span.context.trace_flags.sampled:
            return
        if self.waiting >= MAX_WAITING:
            self._counts[SpanOutcome.DROPPED] += 1
            return
        self._taken += 1
        self._inner.on_end(span)


class _Exporter(SpanExporter):
    """Sends batches from the library's thread, and tells how that goes."""

    def __init__(self, inner: SpanExporter, counts: MutableMapping[SpanOutcome, int]) -> None:
        self._inner = inner
        self._counts = counts
        self._is_well = True
        self._said = _Said()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; a failure is final."""
        result = SpanExportResult.FAILURE
        self._said.text = ""
        try:
            result = self._inner.export(spans)
        except Exception as error:  # noqa: BLE001 - the wall of an export: the library's thread must go on
            self._said.text = f"{type(error).__name__}: {error}"
        is_well = result is SpanExportResult.SUCCESS
        self._counts[SpanOutcome.SENT if is_well else SpanOutcome.FAILED] += len(spans)
        if is_well is not self._is_well:
            self._is_well = is_well
            if is_well:
                _log.info("telemetry_well")
            else:
                _log.warning("telemetry_failed", error=self._said.text[:ERROR_CHARS])
        return result

    def stop(self) -> None:
        """Send nothing more, and do not repeat what is under way."""
        self._inner.shutdown()

    def shutdown(self) -> None:
        """Come to the end."""
        self._inner.shutdown()
        self._said.close()


class _Said(logging.Handler):
    """What the library logs, which otherwise goes to stderr line by line: the first line of a batch is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._logger = logging.getLogger("opentelemetry")
        self._propagates = self._logger.propagate
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, if it is the first one."""
        self.text = self.text or record.getMessage()

    def close(self) -> None:
        """Leave the library's logs as they were."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagates
        super().close()
