"""Frames on a node's control line (docs/manual/control-protocol.md), and the lines of JSON between them."""

import re
import struct
import zlib

START = 0x01
HEADER_BYTES, CRC_BYTES, MAX_PAYLOAD = 6, 4, 1024
MAX_FRAME = HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES

# Small letters are the host's, capitals the node's.
OPEN, DATA, CLOSE, RESET, ALIVE, CHUNK = b"odcrab"
OPENED, REFUSED, OUTPUT, WINDOW, LOST, CLOSED, PIECE = b"OEDWLCB"

# Brings a reader to the beginning of a frame or line, whatever it has seen.
TO_BEGINNING = b"\n" * MAX_FRAME


_SEALED = re.compile(rb"(.*\}) ([0-9a-f]{8})", re.DOTALL)


def seal(text):
    """An object's JSON with its CRC."""
    return text + b" %08x" % zlib.crc32(text)


def unsealed(line):
    """The JSON of a line with a CRC, or None: there is none, or it is wrong."""
    found = _SEALED.fullmatch(line)
    return found[1] if found and int(found[2], 16) == zlib.crc32(found[1]) else None


def make(kind, stream, payload=b""):
    """A frame as bytes. kind: a constant above. stream: 0 to 65535. payload: at most MAX_PAYLOAD bytes."""
    checked = struct.pack("<BHH", kind, stream, len(payload)) + payload
    return bytes([START]) + checked + struct.pack("<I", zlib.crc32(checked))


class Reader:
    """Takes bytes apart. feed() yields ("line", bytes without the line end) and ("frame", kind, stream, payload)."""

    def __init__(self):
        self._rest = b""
        self._line = b""

    def feed(self, data):
        self._rest += data
        while self._rest:
            start = self._rest.find(START)
            text = self._rest if start < 0 else self._rest[:start]
            if text:
                self._rest = self._rest[len(text) :]
                *lines, self._line = (self._line + text).split(b"\n")
                for line in lines:
                    yield "line", line
                continue
            if len(self._rest) < HEADER_BYTES:
                return
            kind, stream, length = struct.unpack_from("<BHH", self._rest, 1)
            if length > MAX_PAYLOAD:
                self._rest = self._rest[HEADER_BYTES:]
                continue
            end = HEADER_BYTES + length
            if len(self._rest) < end + CRC_BYTES:
                return
            checked, (crc,) = self._rest[1:end], struct.unpack_from("<I", self._rest, end)
            self._rest = self._rest[end + CRC_BYTES :]
            if zlib.crc32(checked) == crc:
                yield "frame", kind, stream, checked[HEADER_BYTES - 1 :]
