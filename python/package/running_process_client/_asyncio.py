"""The clients for asyncio: coroutines around the futures of the native half."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Callable, TypeVar

from . import _native
from ._data import State
from ._native import Call, Client, Completions, EventStream, Handle, Service
from ._types import Policy

T = TypeVar("T")

_completions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Completions] = weakref.WeakKeyDictionary()


def _completions_of(loop: asyncio.AbstractEventLoop) -> Completions:
    """Returns the queue of the results for `loop`, which is made with the first call."""
    try:
        return _completions[loop]
    except KeyError:
        pass
    completions = Completions()
    descriptor = completions.fileno()
    try:
        if descriptor is None:
            raise NotImplementedError
        loop.add_reader(descriptor, completions.drain)
    except NotImplementedError:
        # The event loop of Windows waits for no descriptor, so a thread waits for the results.
        weakref.finalize(loop, completions.close)
        arguments = (weakref.ref(loop), completions)
        threading.Thread(target=_forward, args=arguments, name="running-process-results", daemon=True).start()
    _completions[loop] = completions
    return completions


def _forward(reference: weakref.ref[asyncio.AbstractEventLoop], completions: Completions) -> None:
    """Wakes the event loop when results arrive, until it is gone."""
    while completions.wait():
        loop = reference()
        if loop is None:
            return
        drained = threading.Event()
        try:
            loop.call_soon_threadsafe(_drain, completions, drained)
        except RuntimeError:
            # The event loop is closed.
            return
        del loop
        drained.wait()


def _drain(completions: Completions, drained: threading.Event) -> None:
    completions.drain()
    drained.set()


async def _call(start: Callable[[Completions, asyncio.Future[T]], Call]) -> T:
    """Returns what the native half gives to the future that `start` gets. A cancellation of the task cancels the call."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    call = start(_completions_of(loop), future)
    try:
        return await future
    except BaseException:
        call.cancel()
        raise


class AsyncClient:
    """A client for asyncio. Any number of tasks share its one connection, with any number of requests in flight.

    The cancellation of a task cancels its request on the wire. One thread drives the requests of all such clients, and
    never waits for the interpreter's lock.
    """

    __slots__ = ("_client",)

    def __init__(self, client: Client) -> None:
        """Makes a client on the connection of `client`. Both may be used together, by threads and tasks."""
        self._client = client

    async def request(
        self,
        protocol: int,
        payload: bytes,
        *,
        timeout: float | None = None,
        traceparent: str = "",
        tracestate: str = "",
    ) -> bytes:
        """Sends a request and returns the payload of its response.

        The daemon is told the `timeout`, in seconds, and the trace context. After the timeout the request is cancelled, and
        this raises `RequestTimeoutError`. `RefusedError` says why the daemon does not serve the request.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        call = self._client.start_request(_completions_of(loop), future, protocol, payload, timeout, traceparent, tracestate)
        try:
            return await future
        except BaseException:
            call.cancel()
            raise

    def stream(
        self,
        protocol: int,
        payload: bytes,
        *,
        timeout: float | None = None,
        traceparent: str = "",
        tracestate: str = "",
    ) -> AsyncEventStream:
        """Sends a request whose events are wanted: ``async for`` yields their payloads, then `response` returns that of the response."""
        return AsyncEventStream(self._client.stream(protocol, payload, timeout=timeout, traceparent=traceparent, tracestate=tracestate))

    @property
    def pid(self) -> int:
        """The process id of the daemon."""
        return self._client.pid

    @property
    def is_usable(self) -> bool:
        """Whether requests can still be sent."""
        return self._client.is_usable

    def close(self) -> None:
        """Closes the client. The connection ends with the last request in flight."""
        self._client.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()


class AsyncEventStream:
    """The events of one request, and then its response. Without its response, the request is cancelled by `aclose` and with the object."""

    __slots__ = ("_stream",)

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        event = await _call(self._stream.start_next)
        if event is None:
            raise StopAsyncIteration
        return event

    async def response(self) -> bytes:
        """Returns the payload of the response, and drops the events that were not taken."""
        return await _call(self._stream.start_response)

    async def aclose(self) -> None:
        """Cancels the request, unless its response was taken."""
        self._stream.close()

    async def __aenter__(self) -> AsyncEventStream:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()


async def probe_async(
    identity_file: str | os.PathLike[str],
    *,
    policy: Policy = "default",
    timeout: float | None = None,
) -> Handle:
    """Proves a daemon as `probe` does, without blocking the event loop."""
    return await _call(lambda results, future: _native.start_probe(results, future, identity_file, policy, timeout))


async def ensure_async(service: Service, *, timeout: float | None = None) -> Handle:
    """Returns the daemon of a service as `ensure` does, without blocking the event loop."""
    return await _call(lambda results, future: service.start_ensure(results, future, timeout))


async def find_async(service: Service, *, timeout: float | None = None) -> State:
    """Returns the state of a service as `find` does, without blocking the event loop."""
    return await _call(lambda results, future: service.start_find(results, future, timeout))
