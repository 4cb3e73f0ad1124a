#!/usr/bin/env python3
"""Writes a capture file for Wireshark from what strace saw of a daemon's Unix sockets.

    strace -f -ttt -xx -yy -s 16777221 -o trace.txt -p "$(pidof my-daemon)" \\
        -e trace=read,recvfrom,recvmsg,readv,write,sendto,sendmsg,writev
    strace2pcap.py trace.txt capture.pcap

The daemon's clients prove it as usual, since nothing stands between them. Each connection becomes a TCP stream from a port of its
own to the port 1 of 127.0.0.1. Bytes that the daemon reads are those of its client, and bytes that it writes are its answers.
"""

import re
import struct
import sys

LINE = re.compile(r"(?:(\d+) +)?(\d+\.\d+) (.*)")
UNFINISHED = re.compile(r"(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
CALL = re.compile(r"(\w+)\(\d+<UNIX(?:-STREAM)?:\[([^\]]*)\]>(.*)\) += (\d+)(?:<.*)?$")
READS = {"read", "recvfrom", "recvmsg", "readv"}
WRITES = {"write", "sendto", "sendmsg", "writev"}
VECTORS = {"recvmsg", "readv", "sendmsg", "writev"}
LARGEST_SEGMENT = 60_000


def calls(lines):
    """Yields each successful call on a Unix socket: time, name, socket, arguments, result."""
    begun = {}
    for line in lines:
        match = LINE.match(line.rstrip("\n"))
        if not match:
            continue
        thread, time, text = match.groups()
        if unfinished := UNFINISHED.match(text):
            begun[thread] = unfinished[1]
            continue
        if resumed := RESUMED.match(text):
            text = begun.pop(thread, "") + resumed[2]
        if call := CALL.match(text):
            name, socket, arguments, result = call.groups()
            yield float(time), name, socket, arguments, int(result)


def transferred(name, arguments, length):
    """Returns the bytes that a call has read or written."""
    pattern = r'iov_base="((?:\\x[0-9a-f]{2})*)"' if name in VECTORS else r'^, "((?:\\x[0-9a-f]{2})*)"'
    text = "".join(re.findall(pattern, arguments))
    data = bytes.fromhex(text.replace("\\x", ""))[:length]
    if len(data) != length:
        raise ValueError(f"{name} transferred {length} bytes, and the trace has {len(data)}: run strace with -xx and a larger -s")
    return data


def segment(ports, sequence, acknowledged, data):
    """Returns an IPv4 packet with a TCP segment, without checksums."""
    tcp = struct.pack(">HHIIBBHHH", *ports, sequence, acknowledged, 0x50, 0x18, 0xFFFF, 0, 0)
    address = bytes([127, 0, 0, 1])
    header = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(data), 0, 0x4000, 64, 6, 0)
    return header + address + address + tcp + data


def main(trace, capture):
    streams = {}
    with open(trace, encoding="ascii", errors="replace") as lines, open(capture, "wb") as out:
        # Link type 101: packets begin with their IP header.
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101))
        for time, name, socket, arguments, length in calls(lines):
            if length == 0 or name not in READS | WRITES:
                continue
            data = transferred(name, arguments, length)
            port, sent = streams.setdefault(socket, (40_000 + len(streams), [1, 1]))
            is_answer = name in WRITES
            ports = (1, port) if is_answer else (port, 1)
            for start in range(0, len(data), LARGEST_SEGMENT):
                piece = data[start : start + LARGEST_SEGMENT]
                packet = segment(ports, sent[is_answer] % 2**32, sent[not is_answer] % 2**32, piece)
                sent[is_answer] += len(piece)
                out.write(struct.pack("<IIII", int(time), round(time % 1 * 1e6) % 1_000_000, len(packet), len(packet)))
                out.write(packet)
    print(f"{capture}: {len(streams)} connections", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
