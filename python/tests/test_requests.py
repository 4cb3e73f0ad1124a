"""Requests of the blocking client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import running_process_client as rp
from conftest import PATIENCE, PROTOCOL, Daemon, until

MAX_FRAME = 16 * 1024 * 1024


def test_a_request_is_answered(client: rp.Client, daemon: Daemon) -> None:
    assert client.request(PROTOCOL, b"echo hello") == b"hello"
    assert client.request(PROTOCOL, b"echo ") == b""
    assert client.pid == daemon.pid
    assert client.is_usable


def test_a_payload_as_large_as_a_frame_comes_back(client: rp.Client) -> None:
    payload = os.urandom(MAX_FRAME - 100)
    assert client.request(PROTOCOL, b"echo " + payload, timeout=PATIENCE) == payload


def test_a_payload_larger_than_a_frame_is_not_sent(client: rp.Client) -> None:
    with pytest.raises(rp.RequestTooLargeError, match="16777216") as raised:
        client.request(PROTOCOL, bytes(MAX_FRAME + 1))
    assert not raised.value.may_have_run
    assert client.request(PROTOCOL, b"echo on") == b"on"


def test_a_refusal_tells_its_reason(client: rp.Client) -> None:
    with pytest.raises(rp.RefusedError, match="busy") as raised:
        client.request(PROTOCOL, b"busy")
    refusal = raised.value
    assert refusal.reason is rp.RefusalReason.OVERLOADED
    assert (refusal.detail, refusal.retry_after, refusal.may_have_run) == ("busy", 1.5, False)


def test_a_handler_that_fails_may_have_run(client: rp.Client) -> None:
    with pytest.raises(rp.RefusedError) as raised:
        client.request(PROTOCOL, b"fail no such crate")
    assert raised.value.reason is rp.RefusalReason.HANDLER_FAILED
    assert raised.value.detail == "no such crate"
    assert raised.value.may_have_run
    assert client.request(PROTOCOL, b"echo on") == b"on"


def test_a_protocol_that_is_not_served_has_not_run(client: rp.Client) -> None:
    client.request(PROTOCOL, b"echo ")
    with pytest.raises(rp.RequestError) as raised:
        client.request(PROTOCOL + 1, b"echo hello")
    assert isinstance(raised.value, rp.RefusedError)
    assert raised.value.reason is rp.RefusalReason.UNSERVED_PROTOCOL


def test_a_timeout_cancels_the_request(client: rp.Client) -> None:
    with pytest.raises(rp.RequestTimeoutError) as raised:
        client.request(PROTOCOL, b"wait timeout", timeout=2)
    assert isinstance(raised.value, TimeoutError)
    assert raised.value.may_have_run
    assert 0 < raised.value.timeout <= 2
    until(client, "timeout", b"cancelled")


def test_a_timeout_that_has_passed_sends_nothing(client: rp.Client) -> None:
    with pytest.raises(rp.RequestTimeoutError):
        client.request(PROTOCOL, b"wait never", timeout=0)
    assert client.request(PROTOCOL, b"ended never") == b"unknown"


@pytest.mark.parametrize("timeout", [-1, float("nan"), -float("inf")])
def test_a_timeout_is_a_number_of_seconds(client: rp.Client, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout is"):
        client.request(PROTOCOL, b"echo ", timeout=timeout)


def test_a_timeout_beyond_every_clock_is_none(client: rp.Client) -> None:
    assert client.request(PROTOCOL, b"echo hello", timeout=float("inf")) == b"hello"


@pytest.mark.parametrize(
    "arguments",
    [
        (PROTOCOL, "text"),
        (PROTOCOL, bytearray(b"echo ")),
        (PROTOCOL, [1, 2]),
        ("0xF0C0", b"echo "),
        (PROTOCOL,),
        (1.5, b""),
    ],
)
def test_wrong_types_are_type_errors(client: rp.Client, arguments: Any) -> None:
    with pytest.raises(TypeError):
        client.request(*arguments)


@pytest.mark.parametrize("protocol", [-1, 2**32])
def test_a_protocol_has_32_bits(client: rp.Client, protocol: int) -> None:
    with pytest.raises(OverflowError):
        client.request(protocol, b"echo ")


def test_events_come_before_the_response(client: rp.Client) -> None:
    with client.stream(PROTOCOL, b"events 100", timeout=PATIENCE) as stream:
        assert list(stream) == [str(number).encode() for number in range(100)]
        assert stream.response() == b"100"
        assert list(stream) == []


def test_a_response_drops_the_events_before_it(client: rp.Client) -> None:
    stream = client.stream(PROTOCOL, b"events 1000")
    assert next(stream) == b"0"
    assert stream.response() == b"1000"
    with pytest.raises(rp.RequestError, match="not in flight"):
        stream.response()


def test_a_stream_of_a_refused_request_raises_at_its_response(client: rp.Client) -> None:
    stream = client.stream(PROTOCOL, b"busy")
    assert list(stream) == []
    with pytest.raises(rp.RefusedError):
        stream.response()


def test_a_closed_stream_cancels_its_request(client: rp.Client) -> None:
    with client.stream(PROTOCOL, b"wait stream"):
        until(client, "stream", b"waiting")
    until(client, "stream", b"cancelled")


def test_a_dropped_stream_cancels_its_request(client: rp.Client) -> None:
    stream = client.stream(PROTOCOL, b"wait dropped")
    until(client, "dropped", b"waiting")
    del stream
    until(client, "dropped", b"cancelled")


def test_a_stream_has_a_timeout(client: rp.Client) -> None:
    stream = client.stream(PROTOCOL, b"wait late", timeout=2)
    # The daemon keeps the deadline as well. If its refusal comes first, it is the response.
    with pytest.raises(rp.RequestTimeoutError):
        print(*stream, stream.response())
    until(client, "late", b"cancelled")


def test_threads_share_a_connection_and_do_not_wait_for_each_other(client: rp.Client) -> None:
    threads = 64
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(client.request, PROTOCOL, f"wait {number}".encode(), timeout=PATIENCE) for number in range(threads - 4)]
        for number in range(threads - 4):
            until(client, str(number), b"waiting")
        answers = pool.map(lambda number: client.request(PROTOCOL, f"echo {number}".encode()), range(1000))
        assert list(answers) == [str(number).encode() for number in range(1000)]
        # The connection ends with the daemon, and every thread gets the reason.
        os.kill(client.pid, signal.SIGKILL)
        for request in waiting:
            with pytest.raises(rp.ConnectionLostError) as raised:
                request.result(timeout=PATIENCE)
            assert raised.value.may_have_run


def test_a_request_waits_without_the_interpreters_lock(client: rp.Client) -> None:
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(client.request, PROTOCOL, b"wait lock", timeout=PATIENCE)
        # If the thread held the lock, these would not run before its timeout.
        until(client, "lock", b"waiting")
        assert not request.done()
        os.kill(client.pid, signal.SIGKILL)
        with pytest.raises(rp.ConnectionLostError):
            request.result()


def test_a_closed_client_sends_nothing(client: rp.Client) -> None:
    client.close()
    client.close()
    assert not client.is_usable
    assert "closed" in repr(client)
    with pytest.raises(rp.ClientClosedError):
        client.request(PROTOCOL, b"echo ")
    with pytest.raises(rp.ClientClosedError):
        client.stream(PROTOCOL, b"echo ")


def test_a_daemon_that_ends_loses_the_connection(client: rp.Client, daemon: Daemon) -> None:
    daemon.kill()
    with pytest.raises(rp.ConnectionLostError) as raised:
        client.request(PROTOCOL, b"echo ")
    assert isinstance(raised.value, ConnectionError)
    assert not client.is_usable
    with pytest.raises(rp.ConnectionLostError):
        client.request(PROTOCOL, b"echo ")


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("call", ["client.request(0xF0C0, b'wait int')", "next(client.stream(0xF0C0, b'wait int'))"])
def test_ctrl_c_ends_a_call_and_cancels_its_request(client: rp.Client, daemon: Daemon, call: str) -> None:
    script = f"""
import signal, sys, running_process_client as rp
# A shell that runs the tests in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
client = rp.probe(sys.argv[1], timeout=60).client()
try:
    {call}
except KeyboardInterrupt:
    print('interrupted', flush=True)
    sys.stdin.read()
    assert client.request(0xF0C0, b'echo on') == b'on'
"""
    process = subprocess.Popen([sys.executable, "-c", script, daemon.identity_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    until(client, "int", b"waiting")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"interrupted\n"
    # The connection is still open and the process makes no call, so the cancel was written before the exception.
    until(client, "int", b"cancelled")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
