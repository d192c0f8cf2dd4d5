"""Speaks to a running node: requests and replies of one JSON line each, and streams (control-protocol.md)."""

import collections
import contextlib
import errno
import itertools
import json
import os
import pathlib
import re
import socket
import sys
import time

import common
import frames

# Commands that copy a VM take their time.
DEFAULT_TIMEOUT_SECONDS = 120
# What a command is given, in this order. The node knows which command takes what.
PARAMETERS = ("vm", "module")
RETRY_SECONDS = 0.05
# What goes on is asked for so often.
LOOK_SECONDS = 0.5

EXIT_OK, EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_NO_ANSWER = 0, 1, 2, 3, 4
# By kind of error, as the node calls them.
STATUS_OF_KIND = {"usage": EXIT_USAGE, "not found": 5, "state": 6, "busy": 6, "resources": 7, "failed": EXIT_REFUSED}


class Unreachable(common.Usage):
    """Nobody answers at the socket."""

    status = EXIT_UNREACHABLE


class NoAnswer(Unreachable):
    """Not in time."""

    status = EXIT_NO_ANSWER


class Refused(common.Failure):
    """The node says no. status: the exit status."""

    def __init__(self, why, status=EXIT_REFUSED):
        super().__init__(why)
        self.status = status


@contextlib.contextmanager
def short_path(path):
    """A path to the same file that fits into a socket address, which has room for 107 bytes."""
    path = pathlib.Path(path)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def default_socket():
    return common.build_root() / "node.ctl"


def listen(path):
    """A listening UNIX socket at that path; None if another process listens there.

    A socket file that a killed node left behind is replaced.
    """
    path = pathlib.Path(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        with short_path(path) as short:
            if path.is_socket():
                if _is_in_use(short):
                    listener.close()
                    return None
                os.unlink(path)
            listener.bind(short)
        listener.listen(4)
    except OSError as error:
        listener.close()
        raise common.Usage(f"--ctl {path}: {error.strerror}") from None
    return listener


def _is_in_use(path):
    with socket.socket(socket.AF_UNIX) as probe:
        # It must not wait behind a client of that node.
        probe.setblocking(False)
        return probe.connect_ex(path) != errno.ECONNREFUSED


class Client:
    """A connection to a node's control line. Several clients share it."""

    def __init__(self, path, timeout):
        self.deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._numbers = itertools.count(1)
        # Replies to an earlier client that went away early may still come.
        self._name = f"{os.getpid()}-{time.monotonic_ns()}"
        self._reader = frames.Reader()
        self._lines = collections.deque()
        self._replies = {}  # to requests of ours, by their ids
        self._frames = collections.deque()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            with short_path(path) as short:
                self._connect(short)
        except FileNotFoundError:
            self._socket.close()
            raise Unreachable(f"no node is running: there is no {path}") from None
        except ConnectionRefusedError:
            self._socket.close()
            raise Unreachable(f"no node is running: nobody listens at {path}") from None
        except OSError as error:
            self._socket.close()
            raise common.Usage(f"{path}: {error.strerror or error}") from None

    def _connect(self, path):
        # A full queue of waiting clients refuses at once or blocks; both end at the deadline.
        while True:
            self._socket.settimeout(self._left())
            try:
                return self._socket.connect(path)
            except BlockingIOError:
                time.sleep(RETRY_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._socket.close()

    def _left(self):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise NoAnswer(f"the node gave no answer within {self._timeout:g} s")
        return left

    def fileno(self):
        return self._socket.fileno()

    def read(self):
        """Waits for something to come in, if there is time left."""
        self._socket.settimeout(min(self._left(), 1e6))
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            raise Unreachable("the node ended before it answered")
        for kind, *found in self._reader.feed(data):
            if kind == "line":
                self._lines.append(found[0])
            else:
                self._frames.append(tuple(found))

    def _line(self):
        while not self._lines:
            self.read()
        return self._lines.popleft()

    def has_frame(self):
        return bool(self._frames)

    def frame(self):
        """The next frame: type, stream, payload."""
        while not self._frames:
            self.read()
        return self._frames.popleft()

    def frame_within(self, seconds):
        """As frame(), with a time limit of its own."""
        saved = self.deadline
        self.deadline = time.monotonic() + seconds
        try:
            return self.frame()
        finally:
            self.deadline = saved

    def set_timeout(self, seconds):
        """For what begins from here on."""
        self._timeout = seconds

    def give_more_time(self):
        """The time limit begins anew."""
        self.deadline = max(self.deadline, time.monotonic() + self._timeout)

    def wait_as_long_as_it_takes(self):
        """From here on there is no time limit."""
        self.deadline = float("inf")

    def open(self, what, stream=1):
        """Opens a stream: "console VM", "log", "follow VM". How many bytes may be sent ahead."""
        self.send(b"\n" + frames.make(frames.OPEN, stream, what.encode()))
        while True:
            kind, number, payload = self.frame()
            if number == stream and kind == frames.OPENED:
                return int.from_bytes(payload, "little")
            if number == stream and kind == frames.REFUSED:
                raise Refused(payload.decode(errors="replace"), STATUS_OF_KIND["not found"])

    def send(self, data):
        """Sends bytes as they are."""
        self._socket.settimeout(min(self._left(), 1e6))
        try:
            self._socket.sendall(data)
        except TimeoutError:
            self._left()
        except (BrokenPipeError, ConnectionResetError):
            raise Unreachable("the node ended before it answered") from None

    def ask(self, request, meanwhile=None):
        """Sends the request, a dictionary, under an id of its own; the reply line and the reply.

        meanwhile: called now and then while there is no reply; it may ask as well.
        """
        name = self._send_request(request)
        while True:
            end = self.deadline
            if meanwhile:
                self.deadline = min(end, time.monotonic() + LOOK_SECONDS)
            try:
                return self._reply(name)
            except NoAnswer:
                if self.deadline >= end:
                    raise
            finally:
                self.deadline = end
            try:
                meanwhile()
            finally:
                self.deadline = end

    def _send_request(self, request):
        name = f"{self._name}-{next(self._numbers)}"
        self.give_more_time()
        # The empty line ends what an earlier client left unfinished.
        self.send(("\n" + json.dumps({"id": name, **request}) + "\n").encode())
        return name

    def _reply(self, name):
        while name not in self._replies:
            line = self._line()
            try:
                reply = json.loads(line)
            except ValueError:
                continue
            found = reply.get("id") if isinstance(reply, dict) else None
            if isinstance(found, str) and found.startswith(self._name):
                self._replies[found] = line.decode(), reply
        return self._replies.pop(name)


def request(words):
    """The request for what was typed: a command and its arguments."""
    command, *arguments = words
    if command == "module":
        if arguments[:1] == ["list"]:
            command, arguments = "modules", arguments[1:]
        elif arguments[:1] == ["remove"]:
            command, arguments = "module-remove", arguments[1:]
        else:
            raise common.Usage("module is followed by put NAME FILE, list or remove NAME")
    if command == "policy":
        if arguments[:1] == ["list"]:
            command, arguments = "policies", arguments[1:]
        elif arguments[:1] == ["detach"]:
            command, arguments = "policy-detach", arguments[1:]
        elif arguments[:1] == ["attach"] and len(arguments) > 3:
            return {"command": "policy-attach", "vm": arguments[1], "rows": " ".join(arguments[2:])}
        else:
            raise common.Usage("policy is followed by attach VM CLASS,… MODULE [OPTIONS], detach VM MODULE, or list")
    if command == "define" and len(arguments) == 1:
        try:
            return {"command": command, "config": pathlib.Path(arguments[0]).read_text()}
        except (OSError, UnicodeDecodeError) as error:
            raise common.Usage(f"{arguments[0]}: {getattr(error, 'strerror', None) or error}") from None
    names = {"help": ("topic",), "log": ("vm",), "module-remove": ("module",), "shutdown": ("vm",),
             "autostart": ("vm", "state"), "set": ("vm", "key", "value")}.get(command, PARAMETERS)
    if len(arguments) > len(names):
        raise common.Usage(f"{command}: '{arguments[len(names)]}' is too much")
    return {"command": command, **dict(zip(names, arguments))}


def _title(key):
    """The heading of a value: memory_mib is "Memory (MiB)"."""
    words = key.split("_")
    units = {"mib": "MiB", "ns": "ns"}
    unit = f" ({units[words.pop()]})" if words[-1] in units and len(words) > 1 else ""
    text = " ".join(words)
    short = {"vmm": "VMM", "id": "Id"}
    return short.get(text, text[:1].upper() + text[1:]) + unit


def _cell(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items()) or "-"
    text = str(value)
    return "".join(c if c.isprintable() else "?" for c in text) or "-"


def readable(result):
    """What the node answered, as text: a table, lines of "Key: value", or a message."""
    if isinstance(result, dict) and "message" in result:
        return _cell(result["message"])
    if isinstance(result, dict):
        width = max((len(_title(key)) for key in result), default=0) + 3
        return "\n".join(f"{_title(key) + ':':{width}}{_cell(value)}" for key, value in result.items())
    if not result:
        return "none"
    rows = [[_title(key) for key in result[0]]]
    rows += [[_cell(value) for value in item.values()] for item in result]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(f"{text:{width}}" for text, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def command(client, wanted, as_json, meanwhile=None):
    """Carries out a request() and shows the answer; the exit status. meanwhile: see Client.ask."""
    return show(*client.ask(wanted, meanwhile), as_json)


def show(line, reply, as_json):
    """Shows an answer; the exit status."""
    if as_json:
        print(line)
    if reply.get("ok") is True:
        if not as_json:
            print(readable(reply["result"]))
        return EXIT_OK
    print(f"error: {_cell(reply.get('error'))}", file=sys.stderr)
    return STATUS_OF_KIND.get(reply.get("kind"), EXIT_REFUSED)


def error_line(failure):
    """What --json prints for an error that is not the node's."""
    kind = "no answer" if isinstance(failure, NoAnswer) else "unreachable"
    return json.dumps({"id": None, "ok": False, "error": str(failure), "kind": kind})


_LOG_LINE = re.compile(r"\[ *(\d+\.\d+)\] (.*)")


def _log_line_as_json(line):
    found = _LOG_LINE.fullmatch(line)
    return json.dumps({"time": float(found[1]), "text": found[2]} if found else {"text": line})


def log_lines(client, vm, follows):
    """Yields the lines of the node's log, or of what of it is about a VM. follows: until the node ends."""
    client.open(("follow" if follows else "log") + (f" {vm}" if vm else ""))
    if follows:
        client.wait_as_long_as_it_takes()
    rest = ""
    while True:
        kind, _, payload = client.frame()
        if kind == frames.OUTPUT:
            *lines, rest = (rest + payload.decode(errors="replace")).split("\n")
            yield from lines
        elif kind == frames.LOST:
            yield f"[{int.from_bytes(payload, 'little')} lines lost]"
        elif kind == frames.CLOSED:
            return


def log_command(client, vm, follows, as_json):
    """Shows the log, that of a VM if it is not None; the exit status."""
    try:
        for line in log_lines(client, vm, follows):
            print(_log_line_as_json(line) if as_json else line, flush=True)
    except Refused as refused:
        if as_json:
            print(json.dumps({"id": None, "ok": False, "error": str(refused), "kind": "not found"}))
        print(f"error: {refused}", file=sys.stderr)
        return refused.status
    return EXIT_OK
