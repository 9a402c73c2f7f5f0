"""The logs of a service's runs: written as runners report, and streamed to clients."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

from sumgrad.trainer.record import states
from sumgrad.trainer.record.enum_names import state_name
from sumgrad.trainer.record.events import STOPS
from sumgrad.trainer.record.log_file import LogFile, LogReader
from sumgrad.trainer.service.api.request_limits import HEARTBEAT_SECONDS
from sumgrad.trainer.service.api.run_errors import ServiceStoppingError
from sumgrad.trainer.v1 import run_pb2, service_pb2

POLL_SECONDS = 0.3
"""Between looks at a log that is followed."""

LAST_LINES_SECONDS = 1.0
"""A run that has ended may still log for this long."""

MAX_OPEN_FILES = 256
"""Logs whose end is remembered."""

SERVICE = "service"

_LOG = logging.getLogger(__name__)
_LEVELS = {run_pb2.RUN_STATE_FAILED: run_pb2.LOG_LEVEL_ERROR}

T = TypeVar("T")


class RunLogs:
    """Lives on one event loop; files are written in one thread and read in others.

    Args:
        directory: where a run's files lie.
    """

    def __init__(self, directory: Callable[[str], Path]) -> None:
        self._directory = directory
        self._files: OrderedDict[str, LogFile] = OrderedDict()
        # Lines that could not be written, by run.
        self._lost: dict[str, int] = {}
        self._stopping = False
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._reading = ThreadPoolExecutor(2, thread_name_prefix="log reader")

    async def add(self, run_id: str, lines: Sequence[run_pb2.LogLine]) -> None:
        """Append lines. If the disk is full, the lines are lost and the run goes on."""
        if lines:
            await _in(self._writing, self._append, run_id, lines)

    async def add_events(self, run: run_pb2.Run, events: Sequence[run_pb2.Event]) -> None:
        """Append a line for each event that the service itself made."""
        lines = [line for event in events if (line := _line_of(run, event)) is not None]
        await self.add(run.id, lines)

    async def stream(
        self,
        run_id: str,
        after: int,
        follow: bool,
        sources: Collection[str],
        run: Callable[[], Awaitable[run_pb2.Run]],
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> AsyncGenerator[service_pb2.StreamLogsResponse]:
        """The lines after a sequence number, as responses of ``StreamLogs``.

        Args:
            run: reads the run as it is now; an error ends the stream.
            heartbeat: seconds without a line after which an empty response is sent.

        Raises:
            ServiceStoppingError
        """
        clock = asyncio.get_running_loop().time
        reader, spoken = LogReader(self._directory(run_id), after), clock()
        try:
            while True:
                # Asked first, so that what comes before the end is read.
                over = not follow or _is_over(await run())
                async with aclosing(self._read(run_id, reader, sources)) as found:
                    async for response in found:
                        yield response
                        spoken = clock()
                if over:
                    return
                if clock() - spoken >= heartbeat:
                    yield service_pb2.StreamLogsResponse(sequence=reader.sequence)
                    spoken = clock()
                await asyncio.sleep(min(POLL_SECONDS, heartbeat))
        finally:
            reader.close()

    async def _read(
        self, run_id: str, reader: LogReader, sources: Collection[str]
    ) -> AsyncGenerator[service_pb2.StreamLogsResponse]:
        """The lines that there are now. Raises ServiceStoppingError."""
        while True:
            if self._stopping:
                raise ServiceStoppingError(run_id, reader.sequence)
            lines = await _in(self._reading, reader.read)
            if not lines:
                return
            missed, reader.missed = reader.missed, 0
            wanted = [line for line in lines if not sources or is_from(line.source, sources)]
            yield service_pb2.StreamLogsResponse(
                lines=wanted, missed=missed, sequence=lines[-1].sequence
            )

    def _append(self, run_id: str, lines: Sequence[run_pb2.LogLine]) -> None:
        try:
            file = self._file(run_id)
            if lost := self._lost.get(run_id, 0):
                notice = run_pb2.LogLine(
                    source=SERVICE,
                    level=run_pb2.LOG_LEVEL_ERROR,
                    message=f"{lost} lines could not be written here and are lost",
                    attempt=lines[0].attempt,
                )
                notice.time.GetCurrentTime()
                file.append([notice])
                del self._lost[run_id]
            file.append(lines)
        except OSError as error:
            if run_id not in self._lost:
                _LOG.error("the log of run %s cannot be written: %s", run_id, error)
            self._lost[run_id] = self._lost.get(run_id, 0) + len(lines)

    def _file(self, run_id: str) -> LogFile:
        file = self._files.pop(run_id, None) or LogFile(self._directory(run_id))
        self._files[run_id] = file
        if len(self._files) > MAX_OPEN_FILES:
            self._files.popitem(last=False)
        return file

    async def forget(self, run_id: str) -> None:
        """Drop what is kept of a run that is deleted."""
        await _in(self._writing, self._files.pop, run_id, None)
        self._lost.pop(run_id, None)

    def stop(self) -> None:
        """End every stream with the line after which it can go on at another service."""
        self._stopping = True

    def close(self) -> None:
        self._writing.shutdown()
        self._reading.shutdown()


async def _in(executor: ThreadPoolExecutor, function: Callable[..., T], *arguments: object) -> T:
    """Run a function in a thread; when this is cancelled, wait until the function is over."""
    work = asyncio.get_running_loop().run_in_executor(executor, function, *arguments)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


def is_from(source: str, wanted: Collection[str]) -> bool:
    """Whether the source is one of these, or replaces one: worker-0.1 replaces worker-0."""
    return source in wanted or source.partition(".")[0] in wanted


def _is_over(run: run_pb2.Run) -> bool:
    """Whether a run has ended so long ago that no more lines come."""
    since = time.time() - run.ended.ToMicroseconds() / 1e6
    return states.ended(run) and not 0 <= since < LAST_LINES_SECONDS


def _line_of(run: run_pb2.Run, event: run_pb2.Event) -> run_pb2.LogLine | None:
    """The log line of an event that the service made; None for events without one."""
    match event.WhichOneof("kind"):
        case "state_change":
            change = event.state_change
            state = state_name(change.state)
            message = f"{state}: {change.message}" if change.message else state
            level = _LEVELS.get(change.state, run_pb2.LOG_LEVEL_INFO)
        case "warning":
            message, level = event.warning.message, run_pb2.LOG_LEVEL_WARNING
        case "scaled":
            message = f"{event.scaled.workers} worker(s) wanted"
            level = run_pb2.LOG_LEVEL_INFO
        case "stop_requested":
            message, level = STOPS[event.stop_requested.stop], run_pb2.LOG_LEVEL_INFO
        case _:
            return None
    return run_pb2.LogLine(
        time=event.time, source=SERVICE, level=level, message=message, attempt=run.attempt
    )
