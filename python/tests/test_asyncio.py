"""Requests of the client for asyncio."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import weakref
from collections.abc import Awaitable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, TypeVar

import pytest
import running_process_client as rp
from conftest import PATIENCE, PROTOCOL, Daemon

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class LoopWithoutReaders(asyncio.SelectorEventLoop):
    """An event loop that waits for no descriptors, as the default one of Windows."""

    def add_reader(self, *_arguments: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


@pytest.fixture(params=[asyncio.SelectorEventLoop, LoopWithoutReaders])
def run(request: pytest.FixtureRequest) -> Run:
    def run(main: Awaitable[T]) -> T:
        loop = request.param()
        try:
            result: T = loop.run_until_complete(asyncio.wait_for(main, PATIENCE))
            return result
        finally:
            loop.close()

    return run


async def until(client: rp.AsyncClient, name: str, expected: bytes) -> None:
    while await client.request(PROTOCOL, b"ended " + name.encode()) != expected:
        pass


def test_a_request_is_answered(handle: rp.Handle, run: Run) -> None:
    async def main() -> None:
        async with rp.AsyncClient(handle.client()) as client:
            assert await client.request(PROTOCOL, b"echo hello") == b"hello"
            assert client.is_usable
            assert client.pid == handle.pid
        with pytest.raises(rp.ClientClosedError):
            await client.request(PROTOCOL, b"echo hello")

    run(main())


def test_a_thousand_requests_are_in_flight_and_are_cancelled(handle: rp.Handle, run: Run) -> None:
    async def main() -> None:
        client = rp.AsyncClient(handle.client())
        before = threading.active_count()
        tasks = [asyncio.ensure_future(client.request(PROTOCOL, b"wait %d" % number)) for number in range(1000)]
        for number in range(1000):
            await until(client, str(number), b"waiting")
        # The fallback for event loops without readers has one thread, whatever the number of requests.
        assert threading.active_count() <= before + 1
        assert await client.request(PROTOCOL, b"echo on") == b"on"
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in done)
        for number in range(1000):
            await until(client, str(number), b"cancelled")

    run(main())


def test_answers_go_to_their_requests(handle: rp.Handle, run: Run) -> None:
    async def main() -> None:
        client = rp.AsyncClient(handle.client())
        answers = await asyncio.gather(*(client.request(PROTOCOL, b"echo %d" % number) for number in range(1000)))
        assert answers == [b"%d" % number for number in range(1000)]

    run(main())


def test_large_payloads_come_back(handle: rp.Handle, run: Run) -> None:
    async def main() -> None:
        client = rp.AsyncClient(handle.client())
        payload = os.urandom(16 * 1024 * 1024 - 100)
        assert await client.request(PROTOCOL, b"echo " + payload) == payload

    run(main())


def test_failures_are_raised_where_they_are_awaited(handle: rp.Handle, run: Run) -> None:
    async def main() -> None:
        client = rp.AsyncClient(handle.client())
        with pytest.raises(rp.RefusedError) as refused:
            await client.request(PROTOCOL, b"busy")
        assert refused.value.retry_after == 1.5
        with pytest.raises(rp.RequestTimeoutError):
            await client.request(PROTOCOL, b"wait", timeout=0.1)
        with pytest.raises(TypeError):
            await client.request(PROTOCOL, "text")  # type: ignore[arg-type]
        waiting = asyncio.ensure_future(client.request(PROTOCOL, b"wait end"))
        await until(client, "end", b"waiting")
        os.kill(client.pid, signal.SIGKILL)
        with pytest.raises(rp.ConnectionLostError):
            await waiting

    run(main())


def test_a_timeout_of_asyncio_cancels_the_request(handle: rp.Handle, run: Run) -> None:
    async def main() -> None:
        client = rp.AsyncClient(handle.client())
        task = asyncio.ensure_future(client.request(PROTOCOL, b"wait outer"))
        await until(client, "outer", b"waiting")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(task, 0.05)
        await until(client, "outer", b"cancelled")

    run(main())


def test_events_come_before_the_response(handle: rp.Handle, run: Run) -> None:
    async def main() -> None:
        client = rp.AsyncClient(handle.client())
        async with client.stream(PROTOCOL, b"events 100") as stream:
            events = [event async for event in stream]
            assert events == [b"%d" % number for number in range(100)]
            assert await stream.response() == b"100"

    run(main())


def test_many_streams_each_get_their_own_events(handle: rp.Handle, run: Run) -> None:
    async def collect(client: rp.AsyncClient, count: int) -> bytes:
        stream = client.stream(PROTOCOL, b"events %d" % count)
        events = [event async for event in stream]
        assert events == [b"%d" % number for number in range(count)]
        return await stream.response()

    async def main() -> None:
        client = rp.AsyncClient(handle.client())
        answers = await asyncio.gather(*(collect(client, count) for count in range(50)))
        assert answers == [b"%d" % count for count in range(50)]

    run(main())


def test_a_stream_that_is_left_cancels_its_request(handle: rp.Handle, run: Run) -> None:
    async def main() -> None:
        client = rp.AsyncClient(handle.client())
        async with client.stream(PROTOCOL, b"wait left"):
            await until(client, "left", b"waiting")
        await until(client, "left", b"cancelled")

    run(main())


def test_a_task_that_waits_for_an_event_is_cancelled_and_loses_none(handle: rp.Handle, run: Run) -> None:
    async def main() -> None:
        client = rp.AsyncClient(handle.client())
        stream = client.stream(PROTOCOL, b"wait event")
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.__anext__(), 0.05)
        await until(client, "event", b"waiting")
        await stream.aclose()
        await until(client, "event", b"cancelled")

    run(main())


def test_a_daemon_is_proven_without_blocking(daemon: Daemon, run: Run) -> None:
    async def main() -> None:
        handle = await rp.probe_async(daemon.identity_file, timeout=60)
        assert handle.proof.pid == daemon.pid
        with pytest.raises(rp.NoDaemonError):
            await rp.probe_async(daemon.identity_file.with_name("none.json"))
        with pytest.raises(ValueError, match="policy is"):
            await rp.probe_async(daemon.identity_file, policy="loose")  # type: ignore[arg-type]

    run(main())


def test_threads_and_event_loops_share_one_connection(client: rp.Client) -> None:
    async def main(number: int) -> None:
        tasks = rp.AsyncClient(client)
        answers = await asyncio.gather(*(tasks.request(PROTOCOL, f"echo {number} {task}".encode()) for task in range(200)))
        assert answers == [f"{number} {task}".encode() for task in range(200)]

    def block(number: int) -> None:
        for turn in range(200):
            assert client.request(PROTOCOL, f"echo {number} {turn}".encode()) == f"{number} {turn}".encode()

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(lambda number: asyncio.run(main(number)), number) for number in range(4)]
        jobs += [pool.submit(block, number) for number in range(4, 8)]
        for job in jobs:
            job.result(timeout=PATIENCE)


def test_an_event_loop_is_freed_when_it_is_closed(handle: rp.Handle, run: Run) -> None:
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await rp.AsyncClient(handle.client()).request(PROTOCOL, b"echo ")

    run(main())
    gc.collect()
    assert loops[0]() is None
