"""Prove a daemon, send it ``echo hello`` and print the payload of its answer: the client that a conformance run judges.

The environment names the daemon: RUNNING_PROCESS_CONFORM_SOCKET, RUNNING_PROCESS_CONFORM_IDENTITY (its identity file) and
RUNNING_PROCESS_CONFORM_PROTOCOL. The status is 0 only if the answer was printed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import running_process_client as rp


def main() -> None:
    """Prints the payload of the answer."""
    socket = Path(os.environ["RUNNING_PROCESS_CONFORM_SOCKET"])
    protocol = int(os.environ["RUNNING_PROCESS_CONFORM_PROTOCOL"], 0)
    with rp.probe(os.environ["RUNNING_PROCESS_CONFORM_IDENTITY"], timeout=10) as handle:
        if handle.proof.identity.endpoint.resolve() != socket.resolve():
            sys.exit(f"the identity file is that of a daemon at {handle.proof.identity.endpoint}, not at {socket}")
        with handle.client() as client:
            answer = client.request(protocol, b"echo hello", timeout=10)
    sys.stdout.buffer.write(answer)


if __name__ == "__main__":
    try:
        main()
    except (rp.Error, KeyError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
