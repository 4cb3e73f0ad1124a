"""The examples and the code of README.md, run as programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, Daemon, daemon_program

HERE = Path(__file__).parent.parent


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
        check=False,
    )


def example(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(HERE / "examples" / name, *arguments, **environment)


def test_ask(daemon: Daemon) -> None:
    asked = example("ask.py", daemon.identity_file, "0xF0C0", "echo hello")
    assert (asked.returncode, asked.stdout) == (0, "hello\n"), asked.stderr
    assert "listener: proven" in asked.stderr
    refused = example("ask.py", daemon.identity_file, "0xF0C0", "busy")
    assert refused.returncode == 1
    assert "refused: OVERLOADED busy; try again in 1.5 s\n" in refused.stderr
    daemon.kill()
    gone = example("ask.py", daemon.identity_file, "0xF0C0", "echo hello")
    assert gone.returncode == 1
    assert gone.stderr.startswith("the step 'process' failed: process ")


def test_tasks(daemon: Daemon) -> None:
    tasks = example("tasks.py", daemon.identity_file)
    assert (tasks.returncode, tasks.stderr) == (0, "")
    assert tasks.stdout.splitlines() == [
        "100 answers, the last is 99",
        "event 0",
        "event 1",
        "event 2",
        "then the answer 3",
        "cancelled",
        "no answer in time; it may have run: True",
    ]


def test_service(directory: Path) -> None:
    arguments = ("python-example", "0xF0C0", "echo hello", daemon_program(), "--service", "python-example", directory)
    for _ in range(2):
        served = example("service.py", *arguments, RUNNING_PROCESS_DIR=str(directory))
        assert (served.returncode, served.stdout) == (0, "hello\n"), served.stderr
    stop = "import running_process_client as rp; print(rp.stop(rp.Service('python-example'), timeout=60))"
    stopped = run("-c", stop, RUNNING_PROCESS_DIR=str(directory))
    assert stopped.stdout == "ended\n", stopped.stderr
    failed = example("service.py", "python-example", "1", "", sys.executable, "-c", "1/0", RUNNING_PROCESS_DIR=str(directory))
    assert failed.returncode == 1
    assert "ZeroDivisionError" in failed.stderr


def test_conformance_client(daemon: Daemon) -> None:
    environment = {
        "RUNNING_PROCESS_CONFORM_SOCKET": str(daemon.socket),
        "RUNNING_PROCESS_CONFORM_IDENTITY": str(daemon.identity_file),
        "RUNNING_PROCESS_CONFORM_PROTOCOL": "0xF0C0",
    }
    asked = example("conformance_client.py", **environment)
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "hello", "")
    for wrong in [
        {"RUNNING_PROCESS_CONFORM_PROTOCOL": "0xF0C1"},
        {"RUNNING_PROCESS_CONFORM_SOCKET": str(daemon.socket.with_name("other.sock"))},
        {"RUNNING_PROCESS_CONFORM_IDENTITY": str(daemon.identity_file.with_name("none.json"))},
    ]:
        assert example("conformance_client.py", **{**environment, **wrong}).returncode == 1


@pytest.mark.parametrize("number", range(4))
def test_the_code_of_the_readme(daemon: Daemon, directory: Path, number: int) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    code = blocks[number].replace("/tmp/shout/daemon.json", str(daemon.identity_file))
    command = [str(daemon_program()), "--service", "shout-example", str(directory)]
    code = code.replace('["target/debug/examples/service", "serve"]', repr(command))
    script = directory / "readme.py"
    script.write_text(code)
    ran = run(script, RUNNING_PROCESS_DIR=str(directory))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1] == "b'HELLO'"
