"""The wheel's service client. Prints the socket and identity file that it expects, then its state and what becomes of requests.

    client.py DIRECTORY PAYLOAD_PROTOCOL [COMMAND...]

The first line on standard input starts it; each later one is a request, and the end ends it. COMMAND starts its daemon; the words
SOCKET and FILE in it stand for the two paths.
"""
import queue
import sys
import threading
import time

from running_process._native import NativeServiceClient, native_service_paths

directory, payload_protocol, *command = sys.argv[1:]
service = ("interop", "1.0.0", int(payload_protocol))
socket, file = native_service_paths(*service, directory)[:2]
print(socket, file, sep="\n", flush=True)
sys.stdin.readline()
command = [{"SOCKET": socket, "FILE": file}.get(word, word) for word in command]
patience = {"spawn_attempts": 100, "spawn_ready_timeout": 60.0}
client = NativeServiceClient(*service, command=command or None, runtime_dir=directory, **patience)
requests = queue.Queue()


def read_requests():
    for line in sys.stdin:
        requests.put(line.rstrip("\n").encode())
    requests.put(None)


threading.Thread(target=read_requests, daemon=True).start()
state = None
# Each call of the client returns at once, so this asks again and again.
while True:
    if client.state != state:
        state = client.state
        print(state, flush=True)
    if not requests.empty():
        request = requests.get()
        if request is None:
            break
        number = client.send(request)
        if number < 0:
            print(number, "not sent", flush=True)
    reply = client.try_recv()
    if reply is not None:
        number, payload, error = reply
        print(number, error or bytes(payload).decode().rstrip(), flush=True)
    time.sleep(0.005)
client.close()
