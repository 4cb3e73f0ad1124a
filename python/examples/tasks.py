"""Send many requests at once, follow the events of one, and cancel another, all on one connection.

    python tasks.py IDENTITY_FILE

The daemon is one that serves the conformance protocol 0xF0C0.
"""

from __future__ import annotations

import asyncio
import sys

import running_process_client as rp

PROTOCOL = 0xF0C0


async def main(identity_file: str) -> None:
    """Asks the daemon in four ways."""
    handle = await rp.probe_async(identity_file)
    async with rp.AsyncClient(handle.client()) as client:
        answers = await asyncio.gather(*(client.request(PROTOCOL, b"echo %d" % number) for number in range(100)))
        print(f"{len(answers)} answers, the last is {answers[-1].decode()}")

        async with client.stream(PROTOCOL, b"events 3") as stream:
            async for event in stream:
                print(f"event {event.decode()}")
            print(f"then the answer {(await stream.response()).decode()}")

        # The daemon hears of the end of this task, and stops its work.
        task = asyncio.create_task(client.request(PROTOCOL, b"wait example"))
        while await client.request(PROTOCOL, b"ended example") != b"waiting":
            pass
        task.cancel()
        while await client.request(PROTOCOL, b"ended example") != b"cancelled":
            pass
        print("cancelled")

        try:
            await client.request(PROTOCOL, b"wait example", timeout=0.1)
        except rp.RequestTimeoutError as error:
            print(f"no answer in time; it may have run: {error.may_have_run}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
