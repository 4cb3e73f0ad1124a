"""Prove a daemon, send it one request and print the answer.

    python ask.py IDENTITY_FILE PROTOCOL PAYLOAD

The proof goes to standard error, one step a line.
"""

from __future__ import annotations

import sys

import running_process_client as rp


def main(identity_file: str, protocol: str, payload: str) -> None:
    """Prints the answer of the daemon."""
    with rp.probe(identity_file) as handle, handle.client() as client:
        print(handle.proof, file=sys.stderr)
        answer = client.request(int(protocol, 0), payload.encode(), timeout=10)
    print(answer.decode(errors="replace"))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except rp.ProofError as error:
        sys.exit(f"the step {error.step!r} failed: {error}")
    except rp.RefusedError as error:
        hint = "" if error.retry_after is None else f"; try again in {error.retry_after} s"
        sys.exit(f"refused: {error.reason.name} {error.detail}{hint}")
    except rp.Error as error:
        sys.exit(str(error))
