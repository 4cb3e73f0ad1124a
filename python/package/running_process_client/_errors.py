"""The exceptions. The native half makes them, with their fields as keyword arguments."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

from ._data import Step


class RefusalReason(enum.IntEnum):
    """The reason why a daemon refused a request; the numbers are those of the wire."""

    UNSPECIFIED = 0
    """A reason that this version does not know."""
    OVERLOADED = 1
    """The daemon has no capacity now. The request has not run."""
    DEADLINE_PASSED = 2
    """The deadline of the request passed before it was answered. It may have run."""
    CANCELLED = 3
    """The request was cancelled. It may have run."""
    UNSERVED_PROTOCOL = 4
    """The daemon does not serve the payload protocol. The request has not run."""
    BAD_ENCODING = 5
    """The daemon cannot decode the payload. The request has not run."""
    NOT_AUTHORIZED = 6
    """The daemon does not serve this user or process. The request has not run."""
    HANDLER_FAILED = 7
    """The handler of the daemon failed. The request has run, as far as it came."""
    SHUTTING_DOWN = 8
    """The daemon is ending. The request has not run."""
    ANSWER_TOO_LARGE = 9
    """The answer does not fit a frame. The request has run."""


class Error(Exception):
    """The base of all exceptions of this package."""

    kind: str = ""
    """The kind of the failure in a few fixed words, finer than the classes."""
    may_have_run: bool = False
    """Whether the daemon may have run the request. One that has certainly not run can be sent again, whatever it does."""

    def __init__(self, message: str = "", **fields: Any) -> None:
        """Makes an exception with `fields` as its attributes."""
        super().__init__(message)
        self.__dict__.update(fields)


class DisabledError(Error):
    """The environment asks for the old wire of the daemon: ``RUNNING_PROCESS_DISABLE=1``."""


class ForkedError(Error):
    """The object was made by the process that this one was forked from. Make another one in this process."""


class InterpreterEndsError(Error):
    """The interpreter ends, so no call waits any more."""


class IdentityFileError(Error):
    """The identity file cannot be read, is not one, or other users could have written it."""

    path: Path


class NoDaemonError(Error):
    """No daemon runs: there is no identity file."""

    path: Path


class ProofError(Error):
    """The daemon did not prove itself. Nothing was sent to it."""

    step: str | None = None
    """The kind of the step that failed; ``None`` in the states of a service, or if no step was taken."""
    steps: tuple[Step, ...] = ()
    """The steps that were taken; the last one is the one that failed."""


class GoneError(ProofError):
    """The process of the identity is not alive: it has ended, or its pid is another process's by now."""

    pid: int | None = None


class ImpostorError(ProofError):
    """The kernel names another process at the other end of the connection."""

    role: str
    """``"listener"`` if that process listens, ``"writer"`` if it answered."""
    pid: int
    """The pid of that process."""
    image: Path | None
    """The image of that process, if it can be examined."""
    expected: int
    """The pid in the identity."""


class WrongImageError(ProofError):
    """The process runs another image than the one in the identity."""


class MismatchError(ProofError):
    """The process answered with another identity than the expected one."""

    differences: tuple[str, ...] = ()
    """What differs, for people."""


class PolicyError(ProofError):
    """All checks passed, and the policy asks for more."""


class NotConnectedError(ProofError):
    """There is no connection to the daemon, or it failed during the proof."""


class ProofTimeoutError(ProofError, TimeoutError):
    """The daemon did not prove itself in time."""


class RequestError(Error):
    """The request has no response."""


class RefusedError(RequestError):
    """The daemon refused the request. The connection goes on."""

    reason: RefusalReason
    """The reason."""
    detail: str = ""
    """What the daemon says of it, for people."""
    retry_after: float | None = None
    """Seconds after which the request may be served, if the daemon says that."""


class RequestTimeoutError(RequestError, TimeoutError):
    """The timeout passed before the response. The request was cancelled; the connection goes on."""

    timeout: float
    """The timeout, in seconds."""


class RequestTooLargeError(RequestError):
    """The request does not fit a frame of 16 MiB. Nothing was sent, and the connection goes on."""


class ClientClosedError(RequestError):
    """The client was closed before the request."""


class ConnectionLostError(RequestError, ConnectionError):
    """The connection has ended, by the daemon or by the system. The client is of no use any more."""


class DaemonFaultError(RequestError):
    """The daemon broke the rules of the wire, and the connection was ended. The client is of no use any more."""


class ServiceError(Error):
    """The service has no daemon, or its state cannot be told. Nothing was sent."""


class StartFailedError(ServiceError):
    """The daemon was started and failed, or could not be started."""

    log: str = ""
    """The last lines of the daemon's log."""


class BackingOffError(ServiceError):
    """Several starts in a row have failed, and nothing is started for a while."""

    retry_after: float
    """Seconds until the next start is allowed."""
    log: str | None = None
    """The last lines of the daemon's log."""


class ReplacementError(ServiceError):
    """The daemon that runs is not of the version that is wanted, and was not replaced. It serves on unless the message says otherwise."""


class ServiceTimeoutError(ServiceError, TimeoutError):
    """The daemon did not serve, or did not end, in time."""

    state: str
    """The name of the state at that moment."""


class ProcessError(Error):
    """The system refused to signal the process of the daemon, or to wait for it."""

    pid: int


class ShutdownTimeoutError(ProcessError, TimeoutError):
    """The process of the daemon was asked to end and still runs."""
