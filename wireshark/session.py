#!/usr/bin/env python3
"""Sends the frames that `record.sh` records to a daemon of the conformance protocol, and reads its answers.

    session.py SOCKET
    session.py --rare     writes what no daemon here sends, to a socket that nothing reads
"""

import socket
import sys
import time


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(tag, value):
    if isinstance(value, int):
        return varint(tag << 3) + varint(value)
    return varint(tag << 3 | 2) + varint(len(value)) + value


def frame(**fields):
    tags = {
        "kind": 2, "protocol": 3, "payload": 4, "id": 5, "encoding": 6, "deadline": 7, "traceparent": 8, "tracestate": 9,
        "encodings": 1000, "descriptors": 1001, "accepts": 1002, "is_file": 1003, "unknown": 2000,
    }
    body = field(1, 1) + b"".join(field(tags[name], value) for name, value in fields.items())
    return b"\x01" + len(body).to_bytes(4, "little") + body


def receive(connection, frames):
    """Reads so many frames."""
    data = b""
    while frames:
        while len(data) < 5 or len(data) < 5 + int.from_bytes(data[1:5], "little"):
            more = connection.recv(65536)
            if not more:
                raise EOFError("the daemon ended the connection")
            data += more
        data = data[5 + int.from_bytes(data[1:5], "little") :]
        frames -= 1


def main(path):
    def connect():
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(path)
        return connection

    conformance = 0xF0C0
    connection = connect()
    connection.sendall(frame(protocol=0xB232, payload=bytes(range(32)), id=1, accepts=16))
    receive(connection, 1)
    # Every field; bit 0 of the encodings asks for notices.
    connection.sendall(
        frame(
            protocol=conformance, payload=b"echo hello", id=2**64 - 1, deadline=4102444800123,
            traceparent=b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate=b"vendor=1", encodings=15,
            accepts=16, unknown=b"later",
        )
    )
    receive(connection, 1)
    # Three frames in one segment, and a cancel.
    connection.sendall(frame(protocol=conformance, payload=b"events 2", id=3) + frame(protocol=conformance, payload=b"wait", id=4)
                       + frame(protocol=conformance, payload=b"wait forever", id=5) + frame(kind=3, protocol=conformance, id=5))
    receive(connection, 5)
    # A frame in three segments, one of them within the header.
    large = frame(protocol=conformance, payload=b"echo " + b"x" * 300, id=6)
    for piece in (large[:3], large[3:40], large[40:]):
        connection.sendall(piece)
        time.sleep(0.2)  # so that the daemon reads the pieces apart
    receive(connection, 1)
    connection.sendall(frame(protocol=conformance, payload=b"echo", id=7, encoding=3))
    receive(connection, 1)
    # The end of the connection answers these two.
    connection.sendall(frame(protocol=0xF00D, payload=b"not served", id=8))
    receive(connection, 1)
    assert connection.recv(1) == b""
    connection = connect()
    connection.sendall(frame(protocol=conformance, payload=b"", id=1, descriptors=1, is_file=1))
    assert connection.recv(1) == b""
    connection = connect()
    connection.sendall(b"legacy line\n")
    assert connection.recv(64) == b"LEGACY LINE\n"


def rare():
    writer, _reader = socket.socketpair()
    # The notice of docs/wire.md.
    writer.sendall(bytes.fromhex("01090000000801100222 03c03e01"))
    refusal = field(1000, 1) + field(1001, b"64 requests are in flight") + field(1002, 50)
    writer.sendall(frame(kind=1, payload=refusal, id=1))
    # The daemon behind a front, and digests of zeros, which stand for absent ones.
    fronted = field(1, 4712) + field(2, 9412350) + field(3, b"/usr/bin/redis-server") + field(5, b"\x07" * 32)
    endpoint = field(1, b"build") + field(2, b"/run/build.sock")
    identity = (field(1, 4088) + field(2, b"/bin/d\xef\xbf\xbd") + field(4, endpoint) + field(5, 1795339405167) + field(6, b"boot")
                + field(7, 600) + field(8, b"blake3") + field(9, b"\x55" * 32) + field(3, bytes(32))
                + field(1000, b"/bin/d\xff") + field(1004, 1) + field(1007, fronted))
    writer.sendall(frame(kind=1, protocol=0xB232, payload=bytes(range(32)) + identity, id=2))
    # No protobuf, an unknown kind, no fields, and a body above the cap.
    writer.sendall(b"\x01\x04\0\0\0\x08\x01\x22\x7f" + frame(kind=9, protocol=0xF0C0, id=3) + b"\x01\0\0\0\0")
    writer.sendall(b"\x01\x01\0\0\x01")


if __name__ == "__main__":
    if sys.argv[1] == "--rare":
        rare()
    else:
        main(sys.argv[1])
