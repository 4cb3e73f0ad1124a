"""Clients of daemons that running-process serves.

`probe` proves a running daemon, by what the kernel says of the process at the other end of the connection. `ensure` finds the daemon of a
`Service` or starts it, exactly once. Both return a `Handle`, whose `Client` sends requests on the proven connection; `AsyncClient` does the
same for asyncio. Every exception is an `Error`.
"""

import atexit
import os

from . import _native
from ._asyncio import AsyncClient, AsyncEventStream, ensure_async, find_async, probe_async
from ._data import Identity, Proof, State, Step
from ._errors import (
    BackingOffError,
    ClientClosedError,
    ConnectionLostError,
    DaemonFaultError,
    DisabledError,
    Error,
    ForkedError,
    GoneError,
    IdentityFileError,
    ImpostorError,
    InterpreterEndsError,
    MismatchError,
    NoDaemonError,
    NotConnectedError,
    PolicyError,
    ProcessError,
    ProofError,
    ProofTimeoutError,
    RefusalReason,
    RefusedError,
    ReplacementError,
    RequestError,
    RequestTimeoutError,
    RequestTooLargeError,
    ServiceError,
    ServiceTimeoutError,
    ShutdownTimeoutError,
    StartFailedError,
    WrongImageError,
)
from ._native import Client, EventStream, Handle, Service, ensure, find, probe, probe_claim, read_identity, stop

__all__ = [
    "AsyncClient",
    "AsyncEventStream",
    "BackingOffError",
    "Client",
    "ClientClosedError",
    "ConnectionLostError",
    "DaemonFaultError",
    "DisabledError",
    "Error",
    "EventStream",
    "ForkedError",
    "GoneError",
    "Handle",
    "Identity",
    "IdentityFileError",
    "ImpostorError",
    "InterpreterEndsError",
    "MismatchError",
    "NoDaemonError",
    "NotConnectedError",
    "PolicyError",
    "ProcessError",
    "Proof",
    "ProofError",
    "ProofTimeoutError",
    "RefusalReason",
    "RefusedError",
    "ReplacementError",
    "RequestError",
    "RequestTimeoutError",
    "RequestTooLargeError",
    "Service",
    "ServiceError",
    "ServiceTimeoutError",
    "ShutdownTimeoutError",
    "StartFailedError",
    "State",
    "Step",
    "WrongImageError",
    "ensure",
    "ensure_async",
    "find",
    "find_async",
    "probe",
    "probe_async",
    "probe_claim",
    "read_identity",
    "stop",
]

atexit.register(_native.at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native.after_fork_in_child)
