"""The least client in Python that `running-process conform --client` passes: one request, without a proof."""

import os
import socket
import sys

RESPONSE, EVENT = 1, 2
MAX_BODY = 16 << 20


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def read_varint(body, at):
    value = shift = 0
    while True:
        value |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if body[at - 1] < 0x80:
            return value, at
        if shift == 70:
            raise ValueError("a varint of more than 10 bytes")


def fields(body):
    """Returns the fields by tag: of a repeated one the last, unknown ones too."""
    found, at = {}, 0
    while at < len(body):
        key, at = read_varint(body, at)
        kind = key & 7
        if kind == 0:
            value, at = read_varint(body, at)
        elif kind == 2:
            length, at = read_varint(body, at)
            value, at = body[at : at + length], at + length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
            value = None
        else:
            raise ValueError("an unknown wire type")
        if at > len(body):
            raise ValueError("a field longer than the body")
        if key >> 3 <= 9 and isinstance(value, int) == (key >> 3 in (4, 8, 9)):
            raise ValueError("a field of another type")
        found[key >> 3] = value
    return found


def read(stream, count):
    data = stream.read(count)
    if len(data) < count:
        raise EOFError("the connection ended")
    return data


def request(path, protocol, payload):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    body = b"\x08\x01\x18" + varint(protocol) + b"\x22" + varint(len(payload)) + payload + b"\x28\x01"
    connection.sendall(b"\x01" + len(body).to_bytes(4, "little") + body)
    stream = connection.makefile("rb")
    while True:
        header = read(stream, 5)
        length = int.from_bytes(header[1:], "little")
        if header[0] != 1 or length > MAX_BODY:
            raise ValueError("no frame")
        frame = fields(read(stream, length))
        if frame.get(1) != 1 or frame.get(2, 0) not in (RESPONSE, EVENT):
            raise ValueError("no response and no event")
        if frame.get(2) == RESPONSE:
            break
    if (frame.get(3, 0), frame.get(5, 0), frame.get(6, 0)) != (protocol, 1, 0):
        raise ValueError("a refusal, or a response to another request")
    return frame.get(4, b"")


variable = "RUNNING_PROCESS_CONFORM_"
answer = request(os.environ[variable + "SOCKET"], int(os.environ[variable + "PROTOCOL"], 16), b"echo hello")
sys.stdout.buffer.write(answer)
