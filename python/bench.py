"""Costs of requests of this package, next to the service client of the published wheel, on one connection to the same daemon.

    python bench.py TEST_DAEMON [--seconds S]

Every row has one round of each party in turn, again and again, and shows the median of the rounds. Only the ratios of one run mean
anything.
Both parties and the daemon should be optimized: `pip install .`, and `cargo build --release -p test-daemon`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
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


def measure(parties: dict[str, Round], count: int, payload: bytes, seconds: float) -> dict[str, float]:
    """Returns the median time of a request of each party, in microseconds."""
    times: dict[str, list[float]] = {name: [] for name in parties}
    for run in parties.values():
        run(count, payload)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in parties.items():
            began = time.perf_counter()
            run(count, payload)
            times[name].append((time.perf_counter() - began) / count * 1e6)
    return {name: statistics.median(rounds) for name, rounds in times.items()}


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
            rows: list[tuple[str, dict[str, Round], int, int]] = [
                (
                    "one request at a time, 64 bytes",
                    {"published": published(peer, 1), "Client": blocking(client), "AsyncClient": tasks(other, loop, 1)},
                    500,
                    64,
                ),
                (
                    "one request at a time, 1 MiB",
                    {"published": published(peer, 1), "Client": blocking(client), "AsyncClient": tasks(other, loop, 1)},
                    10,
                    1 << 20,
                ),
                (
                    "64 requests in flight, 64 bytes",
                    {"published": published(peer, 64), "AsyncClient": tasks(other, loop, 64)},
                    6400,
                    64,
                ),
                ("8 threads, 64 bytes", {"published": published(peer, 8), "Client": threads(client, pool)}, 800, 64),
            ]
            print("| a request, in µs | published 4.10.17 | Client | AsyncClient |\n| --- | --- | --- | --- |")
            for name, parties, count, size in rows:
                medians = measure(parties, count, b"echo " + bytes(size), arguments.seconds)
                base = medians["published"]
                cells = [f"{base:.1f}"]
                for party in ("Client", "AsyncClient"):
                    cells.append(f"{medians[party]:.1f} ({medians[party] / base:.2f})" if party in medians else "")
                print(f"| {name} | {' | '.join(cells)} |", flush=True)
        finally:
            daemon.kill()
            daemon.wait()


if __name__ == "__main__":
    main()
