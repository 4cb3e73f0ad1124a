"""Data about daemons. The native half makes it; it is frozen, and equal if its fields are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ._types import ImageState, Level, Listener, StateName, Verdict

if TYPE_CHECKING:
    from ._native import Handle


@dataclass(frozen=True)
class Step:
    """A step of a proof that was taken."""

    kind: str
    """The kind, such as ``"listener"`` or ``"image"``."""
    verdict: Verdict
    """What came of it. ``"proven"`` means that the kernel says so."""
    evidence: str
    """The evidence, for people."""


@dataclass(frozen=True)
class Identity:
    """The identity of a daemon, as its identity file has it. It is public, so by itself it proves nothing."""

    pid: int
    """The process id."""
    executable: Path
    """The path of the executable."""
    sha256: str | None
    """The SHA-256 of the executable in hexadecimal digits, if the daemon records one."""
    blake3: str | None
    """The BLAKE3 of the executable in hexadecimal digits, if the daemon records one."""
    endpoint: Path
    """The path of the socket, or the name of the pipe."""
    namespace: str
    """The namespace of the endpoint: any text."""
    version: str | None
    """The version of the daemon, if it has one."""
    build: str | None
    """The build of that version, if it has one."""
    boot_id: str
    """The boot of the machine in which the process runs."""
    started_at_ms: int
    """Milliseconds since the Unix epoch when the identity was made."""
    idle_timeout: int | None
    """Seconds without work after which the daemon ends by itself."""
    instance: str | None
    """The random id of this run of the daemon, in hexadecimal digits. Daemons of published versions have none."""

    @property
    def digest(self) -> str:
        """The digest of the executable with its algorithm: ``"blake3:..."``, or ``"sha256:..."`` if that is all there is."""
        return f"blake3:{self.blake3}" if self.blake3 is not None else f"sha256:{self.sha256}"


@dataclass(frozen=True)
class Proof:
    """The proof of a daemon, step by step."""

    identity: Identity
    """The identity that was expected and that answered."""
    level: Level
    """The way in which the kernel named the process: ``"held"`` by a handle, ``"named"`` by a number, or not, and it is ``"claimed"``."""
    listener: Listener
    """The process that made the socket."""
    image: ImageState
    """The state of the executable's file. ``"replaced on disk"`` means that the daemon is due for an upgrade."""
    with_origin: bool
    """The identity has a start time, so a later process with the same pid cannot pass for this one."""
    steps: tuple[Step, ...]
    """The steps, in the order in which they were taken."""

    @property
    def pid(self) -> int:
        """The process id of the daemon."""
        return self.identity.pid

    @property
    def executable(self) -> Path:
        """The path of the daemon's executable."""
        return self.identity.executable

    @property
    def digest(self) -> str:
        """The digest of the daemon's executable, with its algorithm."""
        return self.identity.digest

    def __str__(self) -> str:
        """Returns the proof for people, one step a line."""
        return "\n".join(f"{step.kind}: {step.verdict}, {step.evidence}" for step in self.steps)


@dataclass(frozen=True)
class State:
    """The state of a service."""

    name: StateName
    """The name of the state."""
    pid: int | None
    """The process of the state, if there is one and the system tells."""
    retry_after: float | None
    """Seconds until the next start is allowed, in the state ``"backing off"``."""
    handle: Handle | None
    """The proven daemon, in the state ``"live"``."""
