"""Proofs, and daemons that do not prove themselves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
import running_process_client as rp
from conftest import PROTOCOL, Daemon, daemon_program


def alter(daemon: Daemon, **fields: Any) -> None:
    """Writes other fields into the identity file."""
    identity = json.loads(daemon.identity_file.read_text())
    identity.update(fields)
    daemon.identity_file.write_text(json.dumps(identity))


def test_a_proof_is_data(handle: rp.Handle, daemon: Daemon) -> None:
    proof = handle.proof
    assert proof.pid == handle.pid == daemon.pid
    assert proof.executable == daemon_program()
    digest = hashlib.sha256(daemon_program().read_bytes()).hexdigest()
    assert proof.identity.sha256 == digest
    assert proof.digest == f"blake3:{proof.identity.blake3}"
    assert proof.identity.endpoint == daemon.socket
    assert proof.with_origin
    assert proof.image == "unchanged"
    assert [step.kind for step in proof.steps][-2:] == ["image", "alive"]
    assert {step.verdict for step in proof.steps} <= {"proven", "claimed"}
    assert all(step.evidence for step in proof.steps)
    assert f"pid={daemon.pid}" in repr(proof)
    assert "image: proven" in str(proof)
    with pytest.raises(dataclasses.FrozenInstanceError):
        proof.level = "claimed"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(proof)) == proof


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name the process by a number")
def test_the_kernel_names_the_process(handle: rp.Handle) -> None:
    listener = next(step for step in handle.proof.steps if step.kind == "listener")
    assert listener.verdict == "proven"
    assert handle.proof.level in ("held", "named")
    assert handle.proof.listener == "own"


def test_the_identity_is_that_of_the_file(handle: rp.Handle, daemon: Daemon) -> None:
    assert rp.read_identity(daemon.identity_file) == handle.proof.identity
    assert rp.read_identity(daemon.identity_file.with_name("none.json")) is None


def test_each_client_of_a_handle_has_a_connection_of_its_own(handle: rp.Handle) -> None:
    with handle.client() as first, handle.client() as second:
        assert first.request(PROTOCOL, b"echo first") == b"first"
        first.close()
        assert second.request(PROTOCOL, b"echo second") == b"second"
    assert handle.is_alive()


@pytest.mark.parametrize("policy", ["default", "strict", "lenient"])
def test_each_policy_proves_a_daemon_of_this_library(daemon: Daemon, policy: Any) -> None:
    with rp.probe(daemon.identity_file, policy=policy, timeout=60) as handle:
        assert handle.pid == daemon.pid


def test_a_process_is_proven_by_its_own_claim(daemon: Daemon, directory: Path) -> None:
    handle = rp.probe_claim(str(daemon.socket), timeout=60)
    assert handle.proof.identity == rp.read_identity(daemon.identity_file)
    assert handle.client().request(PROTOCOL, b"echo claim") == b"claim"
    link = directory / "link.sock"
    link.symlink_to(daemon.socket)
    assert rp.probe_claim(str(link), timeout=60).pid == daemon.pid
    with pytest.raises(rp.NotConnectedError) as raised:
        rp.probe_claim(str(directory / "none.sock"))
    assert raised.value.step == "connection"


def test_an_impostor_is_named(daemon: Daemon) -> None:
    daemon.socket.unlink()
    with socket.socket(socket.AF_UNIX) as impostor:
        impostor.bind(str(daemon.socket))
        impostor.listen()
        with pytest.raises(rp.ImpostorError) as raised:
            rp.probe(daemon.identity_file)
    error = raised.value
    assert (error.role, error.pid, error.expected) == ("listener", os.getpid(), daemon.pid)
    assert error.image == Path(sys.executable).resolve()
    assert (error.kind, error.step, error.steps[-1].verdict) == ("impostor", "listener", "refused")


def test_a_daemon_that_was_killed_is_gone(daemon: Daemon, handle: rp.Handle) -> None:
    daemon.kill()
    assert not handle.is_alive()
    with pytest.raises(rp.GoneError) as raised:
        rp.probe(daemon.identity_file)
    assert (raised.value.pid, raised.value.step) == (daemon.pid, "process")


def test_a_daemon_that_was_restarted_is_proven_anew(daemon: Daemon, handle: rp.Handle, start: Callable[[], Daemon]) -> None:
    client = handle.client()
    daemon.kill()
    successor = start()
    with pytest.raises(rp.ConnectionLostError):
        client.request(PROTOCOL, b"echo ")
    with pytest.raises(rp.GoneError):
        handle.client()
    with rp.probe(daemon.identity_file, timeout=60) as anew:
        assert anew.pid == successor.pid
        assert anew.client().request(PROTOCOL, b"echo anew") == b"anew"


def test_another_digest_is_another_image(daemon: Daemon) -> None:
    alter(daemon, exe_hash=[1] * 32, legacy_exe_sha256=[1] * 32)
    with pytest.raises(rp.ProofError) as raised:
        rp.probe(daemon.identity_file, timeout=60)
    assert raised.value.step in ("answer", "image")


def test_another_version_is_a_mismatch(daemon: Daemon) -> None:
    alter(daemon, version="9")
    with pytest.raises(rp.MismatchError) as raised:
        rp.probe(daemon.identity_file, timeout=60)
    assert raised.value.step == "answer"
    assert any("version" in difference for difference in raised.value.differences)


def test_an_identity_of_another_boot_is_of_a_daemon_that_is_gone(daemon: Daemon) -> None:
    alter(daemon, boot_id="another")
    with pytest.raises(rp.GoneError) as raised:
        rp.probe(daemon.identity_file)
    assert (raised.value.kind, raised.value.step) == ("other boot", "boot")


def test_a_daemon_that_does_not_answer_is_not_proven_in_time(daemon: Daemon) -> None:
    os.kill(daemon.pid, signal.SIGSTOP)
    with pytest.raises(rp.ProofTimeoutError) as raised:
        rp.probe(daemon.identity_file, timeout=0.3)
    assert isinstance(raised.value, TimeoutError)
    assert raised.value.step == "answer"
    os.kill(daemon.pid, signal.SIGCONT)
    rp.probe(daemon.identity_file, timeout=60).close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_program_that_was_replaced_is_due_for_an_upgrade(directory: Path, start: Callable[..., Daemon]) -> None:
    program = directory / "program"
    shutil.copy(daemon_program(), program)
    daemon = start(program)
    program.unlink()
    assert rp.probe(daemon.identity_file, timeout=60).proof.image == "replaced on disk"
    with pytest.raises(rp.PolicyError) as raised:
        rp.probe(daemon.identity_file, policy="strict", timeout=60)
    assert raised.value.step == "image"


@pytest.mark.parametrize("content", [b"", b"{}", b"not an identity"])
def test_a_file_that_is_no_identity_is_not_used(directory: Path, content: bytes) -> None:
    path = directory / "daemon.json"
    path.write_bytes(content)
    with pytest.raises(rp.IdentityFileError) as raised:
        rp.probe(path)
    assert raised.value.path == path
    with pytest.raises(rp.IdentityFileError):
        rp.read_identity(path)


def test_a_file_that_others_can_write_is_not_used(daemon: Daemon) -> None:
    daemon.identity_file.chmod(0o666)
    with pytest.raises(rp.IdentityFileError, match="make it 600"):
        rp.probe(daemon.identity_file)


def test_a_file_that_is_not_there_means_that_no_daemon_runs(directory: Path) -> None:
    with pytest.raises(rp.NoDaemonError) as raised:
        rp.probe(directory / "none.json")
    assert raised.value.path == directory / "none.json"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_paths_need_not_be_text(daemon: Daemon, directory: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(directory) + b"/\xff\xfe"))
    strange.mkdir(mode=0o700)
    path = strange / "daemon.json"
    with pytest.raises(rp.NoDaemonError) as raised:
        rp.probe(path)
    assert raised.value.path == path
    shutil.copy(daemon.identity_file, path)
    path.chmod(0o600)
    with rp.probe(path, timeout=60) as handle:
        assert handle.pid == daemon.pid
    with rp.probe(os.fsencode(path).decode("utf-8", "surrogateescape"), timeout=60) as handle:
        assert handle.pid == daemon.pid


@pytest.mark.parametrize("wrong", [1, None, b"daemon.json"])
def test_a_path_is_a_path(wrong: Any) -> None:
    with pytest.raises(TypeError):
        rp.probe(wrong)


def test_a_policy_has_a_name(daemon: Daemon) -> None:
    with pytest.raises(ValueError, match="policy is"):
        rp.probe(daemon.identity_file, policy="loose")  # type: ignore[arg-type]


def test_a_daemon_is_asked_to_end(daemon: Daemon, handle: rp.Handle) -> None:
    handle.client().close()
    handle.shutdown(60)
    assert daemon.process.wait(timeout=60) == 0
    handle.shutdown(60)
    assert not daemon.identity_file.exists()


def test_a_daemon_is_killed(daemon: Daemon, handle: rp.Handle) -> None:
    handle.force_kill()
    assert daemon.process.wait(timeout=60) == -signal.SIGKILL


def test_a_daemon_that_does_not_end_is_told(daemon: Daemon, handle: rp.Handle) -> None:
    os.kill(daemon.pid, signal.SIGSTOP)
    with pytest.raises(rp.ShutdownTimeoutError) as raised:
        handle.shutdown(0.1)
    assert raised.value.pid == daemon.pid
    assert isinstance(raised.value, TimeoutError)


def test_exceptions_are_pickled_with_their_fields(directory: Path) -> None:
    with pytest.raises(rp.NoDaemonError) as raised:
        rp.probe(directory / "none.json")
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (type(copy), str(copy), copy.path) == (rp.NoDaemonError, str(raised.value), raised.value.path)
    timeout = rp.RequestTimeoutError("late", kind="timed out", timeout=1.5)
    copy = pickle.loads(pickle.dumps(timeout))
    assert (str(copy), copy.timeout) == ("late", 1.5)
