"""Files to a running node over its control line (docs/manual/control-protocol.md)."""

import pathlib
import sys
import time
import zlib

import common
import ctl
import frames

# What is on its way before the node has said that it took it.
AHEAD_BYTES = 32 << 10
PIECE_HEAD_BYTES = 12
PIECE_BYTES = frames.MAX_PAYLOAD - PIECE_HEAD_BYTES
# A line that loses every piece is no line.
ATTEMPTS = 5
STALL_SECONDS = 20


class Progress:
    """Says on standard error how far it is: on a terminal in one line that changes, else every ten seconds."""

    def __init__(self, what, total, begin=0, quiet=False):
        self._what, self._total, self._begin, self._quiet = what, total, begin, quiet
        self._since = self._said = time.monotonic()
        self._width = 0

    def _rate(self, done):
        return (done - self._begin) / max(time.monotonic() - self._since, 1e-6) / 1e6

    def _line(self, done):
        return f"{self._what}: {done / 1e6:.1f} of {self._total / 1e6:.1f} MB, {self._rate(done):.2f} MB/s"

    def at(self, done):
        now = time.monotonic()
        if self._quiet or now - self._said < (0.2 if sys.stderr.isatty() else 10):
            return
        self._said = now
        text = self._line(done)
        if sys.stderr.isatty():
            text, self._width = "\r" + text.ljust(self._width), len(text)
        print(text, end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    def end(self):
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0


class Broken(common.Failure):
    """Pieces got lost: it goes on where the node says."""


def _piece(stream, transfer, offset, data):
    head = transfer.to_bytes(4, "little") + offset.to_bytes(8, "little")
    return frames.make(frames.CHUNK, stream, head + data)


def refusal(payload):
    """What an E frame of a transfer says: "kind: reason"."""
    kind, _, why = payload.decode(errors="replace").partition(": ")
    return ctl.Refused(why or kind, ctl.STATUS_OF_KIND.get(kind, ctl.EXIT_REFUSED))


def send(client, stream, transfer, data, begin, progress):
    """Sends data[begin:], and returns when the node has all of it."""
    sent = taken = begin
    while True:
        while sent < len(data) and sent - taken < AHEAD_BYTES:
            client.send(_piece(stream, transfer, sent, data[sent : sent + PIECE_BYTES]))
            sent = min(sent + PIECE_BYTES, len(data))
        try:
            kind, number, payload = client.frame_within(STALL_SECONDS)
        except ctl.NoAnswer:
            raise Broken("the node does not answer") from None
        if number != stream:
            continue
        if kind == frames.REFUSED:
            failure = refusal(payload)
            raise Broken(str(failure)) if failure.status == ctl.STATUS_OF_KIND["state"] else failure
        if kind == frames.CLOSED:
            return
        if kind == frames.PIECE and len(payload) >= PIECE_HEAD_BYTES:
            taken = max(taken, int.from_bytes(payload[4:12], "little"))
            progress.at(taken)
            client.give_more_time()


def _read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise common.Usage(f"{path}: {error.strerror}") from None


def is_transfer(words):
    """Whether a command for the node carries a file over the line."""
    return words[:2] == ["module", "put"]


def command(words, replaces, as_json):
    """The command as a function of a client; it gives the exit status. Files are read before there is one."""
    if len(words) != 4:
        raise common.Usage("module put needs NAME and FILE")
    name, data = words[2], _read(words[3])
    return lambda client: ctl.show(*put_module(client, name, data, replaces, as_json), as_json)


def put_module(client, name, data, replaces=False, quiet=False):
    """Puts a module; the node's last answer: line and reply. One that was there in part goes on."""
    request = {"command": "module-put", "module": name, "bytes": str(len(data)), "crc": f"{zlib.crc32(data):x}"}
    if replaces:
        request["replace"] = "replace"
    last, attempts = -1, 0
    for stream in range(1, 65536):
        line, reply = client.ask(request)
        if not reply.get("ok") or reply["result"]["complete"]:
            return line, reply
        begin = reply["result"]["offset"]
        attempts = attempts + 1 if begin <= last else 0
        last = max(last, begin)
        progress = Progress(name, len(data), begin, quiet)
        try:
            send(client, stream, reply["result"]["transfer"], data, begin, progress)
        except Broken as broken:
            if attempts == ATTEMPTS:
                raise common.Failure(f"{name}: {broken}") from None
        finally:
            progress.end()
    raise common.Failure(f"{name}: the line is too bad")
