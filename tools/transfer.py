"""Files to a running node over its control line (docs/manual/control-protocol.md)."""

import json
import os
import pathlib
import sys
import time
import zlib

import common
import ctl
import frames
import saved

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
        of = f" of {self._total / 1e6:.1f}" if self._total else ""
        return f"{self._what}: {done / 1e6:.1f}{of} MB, {self._rate(done):.2f} MB/s"

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


class StartProgress:
    """Called while a VM starts: says how much of its guest's files is in place."""

    def __init__(self, client, vm, quiet=False):
        self._client, self._vm, self._quiet = client, vm, quiet
        self._progress = None

    def __call__(self):
        vm = self._client.ask({"command": "dominfo", "vm": self._vm})[1].get("result", {})
        if not vm.get("file_bytes"):
            return
        if not self._progress:
            self._progress = Progress(f"{vm['name']} starts", vm["file_bytes"], quiet=self._quiet)
        self._progress.at(vm["placed_bytes"])

    def end(self):
        if self._progress:
            self._progress.end()


class Broken(common.Failure):
    """Pieces got lost: it goes on where the node says."""


def piece(stream, transfer, offset, data):
    head = transfer.to_bytes(4, "little") + offset.to_bytes(8, "little")
    return frames.make(frames.CHUNK, stream, head + bytes(data))


def refusal(payload):
    """What an E frame of a transfer says: "kind: reason"."""
    kind, _, why = payload.decode(errors="replace").partition(": ")
    return ctl.Refused(why or kind, ctl.STATUS_OF_KIND.get(kind, ctl.EXIT_REFUSED))


def _next(client, stream):
    """The next frame of the stream: its kind and payload."""
    while True:
        try:
            kind, number, payload = client.frame_within(STALL_SECONDS)
        except ctl.NoAnswer:
            raise Broken("the node does not answer") from None
        if number == stream:
            return kind, payload


def send(client, stream, transfer, data, begin, progress):
    """Sends data[begin:], and returns when the node has all of it."""
    sent = taken = begin
    while True:
        while sent < len(data) and sent - taken < AHEAD_BYTES:
            client.send(piece(stream, transfer, sent, data[sent : sent + PIECE_BYTES]))
            sent = min(sent + PIECE_BYTES, len(data))
        kind, payload = _next(client, stream)
        if kind == frames.REFUSED:
            failure = refusal(payload)
            raise Broken(str(failure)) if failure.status == ctl.STATUS_OF_KIND["state"] else failure
        if kind == frames.CLOSED:
            return
        if kind == frames.PIECE and len(payload) >= PIECE_HEAD_BYTES:
            taken = max(taken, int.from_bytes(payload[4:12], "little"))
            progress.at(taken)
            client.give_more_time()


# Questions for more that are on their way: each is answered by one piece.
ASKED_AHEAD = 16


def receive(client, stream, transfer, write, progress):
    """Calls write(bytes) with what the node sends, until it has sent all."""
    for _ in range(ASKED_AHEAD):
        client.send(piece(stream, transfer, 0, b""))
    came = 0
    while True:
        kind, payload = _next(client, stream)
        if kind == frames.REFUSED:
            raise refusal(payload)
        if kind == frames.CLOSED:
            return
        if kind != frames.PIECE or len(payload) < PIECE_HEAD_BYTES:
            continue
        data = payload[PIECE_HEAD_BYTES:]
        if int.from_bytes(payload[4:12], "little") != came:
            raise Broken("a piece is missing")
        came += len(data)
        write(data)
        progress.at(came)
        client.give_more_time()
        client.send(piece(stream, transfer, 0, b""))


def _asked(client, **request):
    """The reply's line and reply; what is refused is an exception."""
    line, reply = client.ask(request)
    if not reply.get("ok"):
        raise ctl.Refused(reply.get("error", "refused"), ctl.STATUS_OF_KIND.get(reply.get("kind"), ctl.EXIT_REFUSED))
    return line, reply


def begin_saving(client, vm, part):
    """Goes on with a part of a file if the node has that saved state still, else saves the VM. transfer, page."""
    if part.exists():
        begun = saved.File(part)
        if begun.snapshot and begun.page:
            try:
                _, reply = _asked(client, command="saved-get", vm=vm, page=str(begun.page), snapshot=str(begun.snapshot))
                os.truncate(part, begun.offset_of(begun.page))
                return reply["result"]["transfer"], begun.page
            except ctl.Refused:
                pass
    _asked(client, command="save", vm=vm)
    _, reply = _asked(client, command="saved-get", vm=vm, page="0", snapshot="0")
    part.write_bytes(b"")
    return reply["result"]["transfer"], 0


def save(client, vm, path, quiet=False):
    """Saves a VM to a file; the node's last answer. A file that was begun goes on, if the node has the rest."""
    path = pathlib.Path(path)
    part = path.with_name(path.name + ".part")
    for stream in range(1, ATTEMPTS + 1):
        transfer, _ = begin_saving(client, vm, part)
        size = part.stat().st_size
        progress = Progress(vm, None, 0, quiet)
        try:
            with part.open("ab") as file:
                receive(client, stream, transfer, file.write, progress)
            break
        except Broken as broken:
            if stream == ATTEMPTS and part.stat().st_size == size:
                raise common.Failure(f"{vm}: {broken}") from None
        finally:
            progress.end()
    whole = saved.File(part)
    whole.check()
    line, reply = _asked(client, command="saved-drop", vm=vm)
    part.replace(path)
    what = f"VM '{vm}' saved to {path}, {(path.stat().st_size + 1023) >> 10} KiB of {whole.page * 4} KiB"
    reply["result"]["message"] = what
    return json.dumps(reply), reply


def restore(client, vm, file, quiet=False):
    """Restores a VM from a file that was checked, and defines it before if the node does not know it."""
    _, reply = _asked(client, command="list")
    if not any(vm in (each["name"], str(each["id"])) for each in reply["result"]):
        _asked(client, command="define", config=json.dumps({**file.definition, "name": vm}))
    data = file.path.read_bytes()
    last, attempts = -1, 0
    for stream in range(1, 65536):
        _, reply = _asked(client, command="saved-put", vm=vm, snapshot=str(file.snapshot))
        page, transfer = reply["result"]["offset"], reply["result"]["transfer"]
        attempts = attempts + 1 if page <= last else 0
        last = max(last, page)
        begin = file.offset_of(page)
        progress = Progress(vm, len(data), begin, quiet)
        try:
            send(client, stream, transfer, memoryview(data)[begin:], 0, progress)
            return client.ask({"command": "restore", "vm": vm})
        except Broken as broken:
            if attempts == ATTEMPTS:
                raise common.Failure(f"{vm}: {broken}") from None
        finally:
            progress.end()
    raise common.Failure(f"{vm}: the line is too bad")


def _read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise common.Usage(f"{path}: {error.strerror}") from None


def is_transfer(words):
    """Whether a command for the node carries a file over the line."""
    return words[:2] == ["module", "put"] or (words[0] in ("save", "restore") and len(words) == 3)


def command(words, replaces, as_json):
    """The command as a function of a client; it gives the exit status. Files are read before there is one."""
    if words[0] == "save":
        return lambda client: ctl.show(*save(client, words[1], words[2], as_json), as_json)
    if words[0] == "restore":
        file = saved.File(words[2])
        file.check()
        return lambda client: ctl.show(*restore(client, words[1], file, as_json), as_json)
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
