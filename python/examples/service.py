"""Use the daemon of a service, which is started if it does not run.

python service.py NAME PROTOCOL PAYLOAD COMMAND [ARGUMENT...]
"""

from __future__ import annotations

import sys

import running_process_client as rp


def main(name: str, protocol: str, payload: str, *command: str) -> None:
    """Prints the answer of the daemon."""
    service = rp.Service(name, command=command)
    try:
        handle = rp.ensure(service, timeout=60)
    except rp.StartFailedError as error:
        sys.exit(f"the daemon did not start; its log ends with:\n{error.log}")
    with handle, handle.client() as client:
        print(client.request(int(protocol, 0), payload.encode(), timeout=10).decode(errors="replace"))


if __name__ == "__main__":
    main(*sys.argv[1:])
