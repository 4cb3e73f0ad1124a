"""The wheel's service client: prints the socket and identity file that it expects, then what becomes of three requests.

The second request is refused. A line on standard input starts it, once the daemon is there.
"""
import sys
import time

from running_process._native import NativeServiceClient, native_service_paths

service = ("refused", "1.0.0", 0x7A63)
print(*native_service_paths(*service, sys.argv[1])[:2], sep="\n", flush=True)
sys.stdin.readline()
client = NativeServiceClient(*service, runtime_dir=sys.argv[1])
while client.state != "up":
    time.sleep(0.01)
for payload in [b"first", b"refuse", b"third"]:
    client.send(payload)
while True:
    reply = client.try_recv()
    if reply is None:
        time.sleep(0.01)
        continue
    number, payload, error = reply
    print(number, error or bytes(payload).decode(), flush=True)
    if error is not None:
        break
