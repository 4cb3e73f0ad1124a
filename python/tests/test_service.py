"""Services: found, started exactly once, and stopped."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import running_process_client as rp
from conftest import PATIENCE, PROTOCOL, daemon_program


@pytest.fixture
def service(directory: Path) -> Iterator[rp.Service]:
    command: list[Path | str] = [daemon_program(), "--service", "python-test", directory]
    service = rp.Service("python-test", command=command, root=directory)
    yield service
    rp.stop(service, timeout=PATIENCE)


def test_a_service_is_started_once_and_stopped(service: rp.Service) -> None:
    assert rp.find(service).name == "absent"
    with ThreadPoolExecutor(8) as pool:
        handles = list(pool.map(lambda _: rp.ensure(service, timeout=PATIENCE), range(8)))
    assert len({handle.pid for handle in handles}) == 1
    assert handles[0].client().request(PROTOCOL, b"echo hello") == b"hello"
    state = rp.find(service, timeout=PATIENCE)
    assert (state.name, state.pid) == ("live", handles[0].pid)
    assert state.handle is not None
    assert state.handle.client().request(PROTOCOL, b"echo found") == b"found"
    assert service.identity_file.exists()
    assert rp.probe(service.identity_file, timeout=60).pid == state.pid
    assert rp.stop(service, timeout=PATIENCE) == "ended"
    assert rp.stop(service) == "not running"
    assert rp.find(service).name == "absent"


def test_a_service_is_used_by_tasks(service: rp.Service) -> None:
    async def main() -> None:
        assert (await rp.find_async(service)).name == "absent"
        handles = await asyncio.gather(*(rp.ensure_async(service, timeout=PATIENCE) for _ in range(4)))
        assert len({handle.pid for handle in handles}) == 1
        client = rp.AsyncClient(handles[0].client())
        assert await client.request(PROTOCOL, b"echo tasks") == b"tasks"

    asyncio.run(main())


def test_a_start_that_fails_shows_the_log(directory: Path) -> None:
    script = "import sys; print('no such cache', file=sys.stderr); sys.exit(3)"
    service = rp.Service("python-fails", command=[sys.executable, "-c", script], root=directory)
    with pytest.raises(rp.StartFailedError, match="status 3") as raised:
        rp.ensure(service, timeout=PATIENCE)
    assert "no such cache" in raised.value.log

    def fail_until_it_pauses() -> None:
        while True:
            with pytest.raises(rp.StartFailedError):
                rp.ensure(service, timeout=PATIENCE)

    with pytest.raises(rp.BackingOffError) as pausing:
        fail_until_it_pauses()
    assert pausing.value.retry_after > 0
    assert pausing.value.log is not None
    assert "no such cache" in pausing.value.log
    state = rp.find(service)
    assert state.name == "backing off"
    assert state.retry_after is not None


def test_a_service_without_a_command_is_not_started(directory: Path) -> None:
    with pytest.raises(rp.ServiceError) as raised:
        rp.ensure(rp.Service("python-none", root=directory), timeout=PATIENCE)
    assert raised.value.kind == "no command"
    with pytest.raises(rp.ServiceError) as raised:
        rp.ensure(rp.Service("python-none", command=["no-such-program"], root=directory), timeout=PATIENCE)
    assert raised.value.kind == "no program"


def test_a_daemon_that_is_not_ready_in_time_is_told(directory: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read(); __import__('time').sleep(60)"]
    service = rp.Service("python-slow", command=command, root=directory)
    with pytest.raises(rp.ServiceTimeoutError) as raised:
        rp.ensure(service, timeout=5)
    assert isinstance(raised.value, TimeoutError)
    assert raised.value.state == "starting"
    rp.stop(service, timeout=PATIENCE)


def test_the_daemon_gets_its_environment(directory: Path) -> None:
    script = "import os, sys; print(os.environ['CACHE'], 'SECRET' in os.environ, os.getcwd(), file=sys.stderr); sys.exit(1)"
    service = rp.Service(
        "python-environment",
        command=[sys.executable, "-c", script],
        root=directory,
        environment={"CACHE": "large"},
        working_directory=directory,
    )
    with pytest.raises(rp.StartFailedError) as raised:
        rp.ensure(service, timeout=PATIENCE)
    assert f"large False {directory.resolve()}" in raised.value.log


def test_keys_have_daemons_of_their_own(directory: Path) -> None:
    one = rp.Service("python-keyed", key="one", root=directory)
    other = rp.Service("python-keyed", key=Path("other"), root=directory)
    assert one.directory != other.directory
    assert one.directory.is_relative_to(directory)
    assert one.log_file.parent == one.directory
    assert one.name == "python-keyed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Wrong Name"}, "another character"),
        ({"command": []}, "command is empty"),
        ({"idle_timeout": -1}, "idle_timeout is -1"),
        ({"policy": "loose"}, "policy is"),
        ({"upgrade": "always"}, "upgrade is"),
    ],
)
def test_wrong_definitions_are_value_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rp.Service(**{"name": "python-wrong", **arguments})


@pytest.mark.parametrize("arguments", [{"command": "program"}, {"environment": ["A=1"]}, {"idle_timeout": "1"}])
def test_wrong_types_are_type_errors(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        rp.Service("python-wrong", **arguments)


def test_a_place_that_is_no_directory_is_not_used(directory: Path) -> None:
    service = rp.Service("python-place", root=directory / "file")
    (directory / "file").touch()
    with pytest.raises(rp.ServiceError) as raised:
        rp.find(service)
    assert raised.value.kind == "place"
