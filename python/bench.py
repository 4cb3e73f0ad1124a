"""Costs of requests of this package, next to the service client of the published wheel, on one connection to the same daemon.

    python bench.py TEST_DAEMON [--seconds S]

Every row has one round of each party in turn, again and again, and shows the fastest of the rounds, since other programs only add to it.
Only the ratios of one run mean anything. A round of the published client asks for an answer over and over, which keeps a processor busy.

Both parties and the daemon should be optimized: `pip install .`, and `cargo build --release --workspace --bin test_daemon`.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import running_process_client as rp
from running_process._native import NativeServiceClient, native_service_paths  # type: ignore[import-untyped]

SERVICE = ("python-bench", "1.0.0", 0x7A63)
PROTOCOL = SERVICE[2]
THREADS = 8

Round = Callable[[int, bytes], None]


def published(client: NativeServiceClient, window: int) -> Round:
    """Returns a round of the published client, with `window` requests in flight."""

    def run(count: int, payload: bytes) -> None:
        sent = done = 0
        while done < count:
            while sent < count and sent - done < window:
                client.send(payload)
                sent += 1
            reply = client.try_recv()
            if reply is not None:
                assert reply[2] is None, reply
                done += 1

    return run


def blocking(client: rp.Client) -> Round:
    """Returns a round of one thread."""

    def run(count: int, payload: bytes) -> None:
        for _ in range(count):
            client.request(PROTOCOL, payload)

    return run


def threads(client: rp.Client, pool: ThreadPoolExecutor) -> Round:
    """Returns a round of many threads."""

    def run(count: int, payload: bytes) -> None:
        list(pool.map(lambda _: blocking(client)(count // THREADS, payload), range(THREADS)))

    return run


def tasks(client: rp.AsyncClient, loop: asyncio.AbstractEventLoop, window: int) -> Round:
    """Returns a round of `window` tasks."""

    async def task(count: int, payload: bytes) -> None:
        for _ in range(count):
            await client.request(PROTOCOL, payload)

    async def main(count: int, payload: bytes) -> None:
        await asyncio.gather(*(task(count // window, payload) for _ in range(window)))

    def run(count: int, payload: bytes) -> None:
        loop.run_until_complete(main(count, payload))

    return run


def measure(parties: list[Round], count: int, payload: bytes, seconds: float) -> list[float]:
    """Returns the time of a request of each party in its fastest round, in microseconds."""
    times: list[list[float]] = [[] for _ in parties]
    for run in parties:
        run(count, payload)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for run, rounds in zip(parties, times):
            began = time.perf_counter()
            run(count, payload)
            rounds.append((time.perf_counter() - began) / count * 1e6)
    return [min(rounds) for rounds in times]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("daemon", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rp-") as directory, ThreadPoolExecutor(THREADS) as pool:
        socket, identity_file = native_service_paths(*SERVICE, directory)[:2]
        for path in (socket, identity_file):
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        daemon = subprocess.Popen([arguments.daemon, socket, identity_file, str(PROTOCOL)], stdout=subprocess.PIPE)
        assert daemon.stdout is not None
        daemon.stdout.readline()
        try:
            peer = NativeServiceClient(*SERVICE, runtime_dir=directory)
            while peer.state != "up":
                time.sleep(0.01)
            handle = rp.probe(identity_file)
            client, loop = handle.client(), asyncio.new_event_loop()
            other = rp.AsyncClient(handle.client())
            # Once asyncio is used, a thread of their own drives the sockets, also for Client. So its rows come first.
            rows: list[tuple[str, Round, Round, int, int]] = [
                ("Client: one request at a time, 64 bytes", blocking(client), published(peer, 1), 100, 64),
                ("Client: one request at a time, 1 MiB", blocking(client), published(peer, 1), 4, 1 << 20),
                ("Client: 8 threads, 64 bytes", threads(client, pool), published(peer, 8), 400, 64),
                ("AsyncClient: one request at a time, 64 bytes", tasks(other, loop, 1), published(peer, 1), 100, 64),
                ("AsyncClient: one request at a time, 1 MiB", tasks(other, loop, 1), published(peer, 1), 4, 1 << 20),
                ("AsyncClient: 64 requests in flight, 64 bytes", tasks(other, loop, 64), published(peer, 64), 640, 64),
                ("Client beside it: one request at a time, 64 bytes", blocking(client), published(peer, 1), 100, 64),
            ]
            print("| time of a request, in µs | this package | published 4.10.17 | ratio |\n| --- | --- | --- | --- |")
            for name, own, other_round, count, size in rows:
                ours, theirs = measure([own, other_round], count, b"echo " + bytes(size), arguments.seconds)
                print(f"| {name} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} |", flush=True)
        finally:
            daemon.kill()
            daemon.wait()


if __name__ == "__main__":
    main()
