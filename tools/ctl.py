"""Speaks to the node console of a running node: one JSON line per request and reply (node-console.md)."""

import contextlib
import errno
import itertools
import json
import os
import pathlib
import socket
import time

import common

DEFAULT_TIMEOUT_SECONDS = 10
# What a command is given, in this order. The node knows which command takes what.
PARAMETERS = ("vm", "module")
RETRY_SECONDS = 0.05

EXIT_OK, EXIT_REFUSED, EXIT_USAGE = 0, 1, 2


class Unreachable(common.Usage):
    """Nobody answers at the socket."""


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
        raise common.Usage(f"{path}: {error.strerror}") from None
    return listener


def _is_in_use(path):
    with socket.socket(socket.AF_UNIX) as probe:
        # It must not wait behind a client of that node.
        probe.setblocking(False)
        return probe.connect_ex(path) != errno.ECONNREFUSED


class Client:
    """A connection to a node's second serial line. QEMU serves one at a time; others wait for their turn."""

    def __init__(self, path, timeout):
        self.deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._numbers = itertools.count(1)
        # Replies to an earlier client that went away early may still come.
        self._name = f"{os.getpid()}-{time.monotonic_ns()}"
        self._rest = b""
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
            raise Unreachable(f"the node gave no answer within {self._timeout:g} s")
        return left

    def _line(self):
        while b"\n" not in self._rest:
            self._socket.settimeout(self._left())
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            except ConnectionResetError:
                data = b""
            if not data:
                raise Unreachable("the node ended before it answered")
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def send(self, data):
        """Sends bytes as they are."""
        self._socket.settimeout(self._left())
        try:
            self._socket.sendall(data)
        except TimeoutError:
            self._left()
        except (BrokenPipeError, ConnectionResetError):
            raise Unreachable("the node ended before it answered") from None

    def ask(self, request):
        """Sends the request, a dictionary, under an id of its own; the reply line and the reply."""
        name = f"{self._name}-{next(self._numbers)}"
        # The empty line ends what an earlier client left unfinished.
        self.send(("\n" + json.dumps({"id": name, **request}) + "\n").encode())
        while True:
            line = self._line()
            try:
                reply = json.loads(line)
            except ValueError:
                continue
            if isinstance(reply, dict) and reply.get("id") == name:
                return line.decode(), reply


def request(words):
    """The request for what was typed: a command and its arguments."""
    command, *arguments = words
    names = ("topic",) if command == "help" else PARAMETERS
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
