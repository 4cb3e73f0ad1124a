"""Daemons of the tests: real processes on real sockets."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
import running_process_client as rp

PROTOCOL = 0xF0C0
# Far longer than any test takes, also on a busy machine.
PATIENCE = 120


def daemon_program() -> Path:
    """Returns the program of the test daemon, which `ci/python.sh` builds."""
    return Path(os.environ["RUNNING_PROCESS_TEST_DAEMON"])


class Daemon:
    """A running test daemon."""

    def __init__(self, directory: Path, program: Path | None = None) -> None:
        self.socket = directory / "daemon.sock"
        self.identity_file = directory / "daemon.json"
        self.process = subprocess.Popen([program or daemon_program(), self.socket, self.identity_file], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the standard error, which is captured while tests run."""
    config.stash[STDERR] = os.dup(2)


@pytest.fixture(autouse=True)
def watchdog(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ends a test that hangs, with the stacks of its threads."""
    faulthandler.dump_traceback_later(PATIENCE, exit=True, file=request.config.stash[STDERR])
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A private directory, with a path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="rp-") as path:
        yield Path(path)


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons, and kills them in the end."""
    daemons: list[Daemon] = []

    def start(program: Path | None = None) -> Daemon:
        daemons.append(Daemon(directory, program))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.kill()


@pytest.fixture
def daemon(start: Callable[..., Daemon]) -> Daemon:
    return start()


@pytest.fixture
def handle(daemon: Daemon) -> Iterator[rp.Handle]:
    with rp.probe(daemon.identity_file, timeout=60) as handle:
        yield handle


@pytest.fixture
def client(handle: rp.Handle) -> Iterator[rp.Client]:
    with handle.client() as client:
        yield client


def until(client: rp.Client, name: str, expected: bytes) -> None:
    """Asks until the request `name` of the word `wait` has come to that state. Each question is an answer of the daemon."""
    while client.request(PROTOCOL, b"ended " + name.encode()) != expected:
        pass


def run_python(script: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a script in an interpreter of its own."""
    command = [sys.executable, "-X", "faulthandler", "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)  # type: ignore[call-overload,no-any-return]
