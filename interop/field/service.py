"""A daemon on the wheel's service server. Prints the path of its identity file, then echoes until standard input ends.

Its handler raises or answers too much when it is asked to. The line `close` on standard input closes the server.
"""
import sys
import threading
import traceback

from running_process._native import NativeServiceServer, native_service_paths

service = ("interop", "1.0.0", 0x7A63, sys.argv[1])
server = NativeServiceServer(*service)
print(native_service_paths(*service)[1], flush=True)


def answer(payload):
    if payload == b"raise":
        raise ValueError("the handler was asked to raise")
    return bytes(17 << 20) if payload == b"too large" else b"pong:" + payload


def serve():
    # Without a time limit it returns `None` only once the server is closed.
    while (request := server.recv(None)) is not None:
        try:
            request.reply(answer(bytes(request.payload)))
        except ValueError:
            traceback.print_exc()


threading.Thread(target=serve, daemon=True).start()
for line in sys.stdin:
    if line == "close\n":
        server.close()
        print("closed", flush=True)
