"""A daemon on the wheel's service server: prints the path of its identity file, then echoes until standard input ends."""
import sys
import threading

from running_process._native import NativeServiceServer, native_service_paths

service = ("interop", "1.0.0", 0x7A63, sys.argv[1])
server = NativeServiceServer(*service)
print(native_service_paths(*service)[1], flush=True)


def serve():
    while True:
        request = server.recv(None)
        if request is not None:
            request.reply(b"pong:" + bytes(request.payload))


threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
