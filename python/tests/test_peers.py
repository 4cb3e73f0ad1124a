"""The published wheel 4.10.17 in both directions, and the cache of this repository."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import running_process_client as rp
from conftest import PATIENCE, daemon_program, run_python

native = pytest.importorskip("running_process._native", reason="the published wheel is not installed")
SERVICE = ("python-peer", "1.0.0", 0x7A63)

SERVER = """
import sys, threading
from running_process._native import NativeServiceServer, native_service_paths

service = ('python-peer', '1.0.0', 0x7A63, sys.argv[1])
server = NativeServiceServer(*service)
print(native_service_paths(*service)[1], flush=True)

def serve():
    while True:
        request = server.recv(None)
        if request is not None:
            request.reply(b'pong:' + bytes(request.payload))

threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
"""

CLIENT = """
import sys
from running_process._native import NativeServiceClient

client = NativeServiceClient('python-peer', '1.0.0', 0x7A63, runtime_dir=sys.argv[1])
while client.state != 'up':
    pass
for number in range(10):
    client.send(b'echo %d' % number)
answers = []
while len(answers) < 10:
    reply = client.try_recv()
    if reply is not None:
        number, payload, error = reply
        answers.append(error or bytes(payload))
print(sorted(answers))
"""


@pytest.fixture
def published(directory: Path) -> Iterator[Path]:
    """The identity file of a daemon on the service server of the published wheel."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield Path(process.stdout.readline().strip())
    process.kill()
    process.communicate(timeout=PATIENCE)


def test_a_published_daemon_is_proven_and_answers(published: Path) -> None:
    with rp.probe(published, timeout=60) as handle:
        proof = handle.proof
        assert proof.digest.startswith("blake3:")
        assert proof.identity.sha256 is None
        assert not proof.with_origin
        with handle.client() as client:
            assert client.request(SERVICE[2], b"ping") == b"pong:ping"

        async def main() -> None:
            client = rp.AsyncClient(handle.client())
            answers = await asyncio.gather(*(client.request(SERVICE[2], b"%d" % number) for number in range(100)))
            assert answers == [b"pong:%d" % number for number in range(100)]

        asyncio.run(main())
    with pytest.raises(rp.PolicyError, match="start time"):
        rp.probe(published, policy="strict", timeout=60)


def test_a_published_client_is_answered_by_a_daemon_that_this_package_proves(directory: Path) -> None:
    socket, identity_file = native.native_service_paths(*SERVICE, str(directory))[:2]
    for path in (socket, identity_file):
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    daemon = subprocess.Popen([str(daemon_program()), socket, identity_file, str(SERVICE[2])], stdout=subprocess.PIPE)
    try:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"ready\n"
        client = run_python(CLIENT, directory)
        assert (client.returncode, client.stdout) == (0, f"{[b'%d' % number for number in range(10)]}\n")
        with rp.probe(identity_file, timeout=60).client() as own:
            assert own.request(SERVICE[2], b"echo ours") == b"ours"
    finally:
        daemon.kill()
        daemon.communicate(timeout=PATIENCE)


@pytest.mark.skipif("RUNNING_PROCESS" not in os.environ, reason="RUNNING_PROCESS does not name the command")
def test_the_cache_of_the_command_is_asked(directory: Path) -> None:
    socket, identity_file = directory / "cache.sock", directory / "cache.json"
    command: list[Path | str] = [os.environ["RUNNING_PROCESS"], "serve", "--socket", socket, "--identity", identity_file]
    cache = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert cache.stdout is not None
        assert cache.stdout.readline()
        with rp.probe(identity_file, timeout=60) as handle, handle.client() as client:
            assert client.request(0xF0CA, b"SET greeting hello") == b"+OK\r\n"
            assert client.request(0xF0CA, b"GET greeting") == b"$5\r\nhello\r\n"
            handle.shutdown(60)
        assert cache.wait(timeout=PATIENCE) in (0, -signal.SIGTERM)
    finally:
        cache.kill()
        cache.communicate(timeout=PATIENCE)
