"""Forks, and the end of the interpreter."""

from __future__ import annotations

import os

import pytest
import running_process_client as rp
from conftest import Daemon, run_python, until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FORK = """
import asyncio, gc, os, sys, traceback, warnings
import running_process_client as rp
warnings.simplefilter('ignore')

def child():
    for call in [
        lambda: client.request(0xF0C0, b'echo '),
        lambda: client.stream(0xF0C0, b'echo '),
        lambda: next(stream),
        lambda: stream.response(),
        lambda: handle.is_alive(),
        lambda: handle.client(),
        lambda: asyncio.run(tasks.request(0xF0C0, b'echo ')),
    ]:
        try:
            call()
            raise SystemExit('no error')
        except rp.ForkedError as error:
            assert 'forked' in str(error)
    with rp.probe(sys.argv[1], timeout=60).client() as own:
        assert own.request(0xF0C0, b'echo child') == b'child'
    async def ask():
        return await rp.AsyncClient(rp.probe(sys.argv[1], timeout=60).client()).request(0xF0C0, b'echo tasks')
    assert asyncio.run(ask()) == b'tasks'

handle = rp.probe(sys.argv[1], timeout=60)
client = handle.client()
handle.is_alive()
stream = client.stream(0xF0C0, b'wait fork')
tasks = rp.AsyncClient(client)
assert asyncio.run(tasks.request(0xF0C0, b'echo ')) == b''
pid = os.fork()
if pid == 0:
    child()
    del client, stream, tasks, handle
    gc.collect()
    sys.exit(7)
_, status = os.waitpid(pid, 0)
assert os.WEXITSTATUS(status) == 7, status
assert client.request(0xF0C0, b'echo parent') == b'parent'
assert client.request(0xF0C0, b'ended fork') == b'waiting'
"""


def test_after_a_fork_the_child_gets_errors_and_makes_clients_of_its_own(daemon: Daemon) -> None:
    ended = run_python(FORK, daemon.identity_file)
    assert (ended.returncode, ended.stderr) == (0, "")


MULTIPROCESSING = """
import multiprocessing, sys, warnings
import running_process_client as rp
warnings.simplefilter('ignore')

def ask(number):
    with rp.probe(sys.argv[1], timeout=60).client() as client:
        return client.request(0xF0C0, b'echo %d' % number)

client = rp.probe(sys.argv[1], timeout=60).client()
client.request(0xF0C0, b'echo ')
with multiprocessing.get_context('fork').Pool(4) as pool:
    assert pool.map(ask, range(20)) == [b'%d' % number for number in range(20)]
"""


def test_a_pool_of_forked_processes_asks(daemon: Daemon) -> None:
    ended = run_python(MULTIPROCESSING, daemon.identity_file)
    assert (ended.returncode, ended.stderr) == (0, "")


END = """
import asyncio, sys, threading
import running_process_client as rp

client = rp.probe(sys.argv[1], timeout=60).client()
for number in range(20):
    threading.Thread(target=client.request, args=(0xF0C0, b'wait %d' % number), daemon=True).start()
def ask():
    while True:
        client.request(0xF0C0, b'echo hello')
for _ in range(4):
    threading.Thread(target=ask, daemon=True).start()
stream = client.stream(0xF0C0, b'wait stream')
threading.Thread(target=next, args=(stream,), daemon=True).start()

loop = asyncio.new_event_loop()
futures = [loop.create_task(rp.AsyncClient(client).request(0xF0C0, b'wait 20')) for _ in range(20)]
loop.run_until_complete(asyncio.sleep(0))
for number in range(20):
    while client.request(0xF0C0, b'ended %d' % number) != b'waiting':
        pass
for future in futures:
    future._log_destroy_pending = False
print('ends', flush=True)
"""


@pytest.mark.parametrize("turn", range(5))
def test_the_interpreter_ends_with_calls_in_flight(daemon: Daemon, turn: int) -> None:
    ended = run_python(END, daemon.identity_file)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ends\n", "")
    with rp.probe(daemon.identity_file, timeout=60).client() as client:
        until(client, str(turn), b"cancelled")


def test_a_call_while_the_interpreter_ends_is_an_error(daemon: Daemon) -> None:
    script = """
import atexit, sys
client = None
# The last one that is registered is called first.
def late():
    try:
        client.request(0xF0C0, b'echo ')
    except rp.InterpreterEndsError as error:
        print(type(error).__name__)
atexit.register(late)
import running_process_client as rp
client = rp.probe(sys.argv[1], timeout=60).client()
"""
    ended = run_python(script, daemon.identity_file)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "InterpreterEndsError\n", "")


def test_frames_that_are_switched_off_are_an_error(daemon: Daemon) -> None:
    script = """
import sys, running_process_client as rp
try:
    rp.probe(sys.argv[1])
except rp.DisabledError as error:
    print(error)
"""
    ended = run_python(script, daemon.identity_file, env={**os.environ, "RUNNING_PROCESS_DISABLE": "1"})
    assert (ended.returncode, ended.stdout) == (0, "probes are switched off by RUNNING_PROCESS_DISABLE=1\n")
