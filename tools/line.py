"""One control line, many clients: requests and streams of each are told apart by numbers of our own.

A node has one control line. Whoever runs the node's emulator holds it and serves clients at a UNIX socket; they
speak what the line speaks (docs/manual/control-protocol.md), each as if it were alone. A request or reply that gets lost or
damaged on the way is repeated, and carried out once.
"""

import collections
import itertools
import json
import os
import selectors
import socket
import threading
import time

import frames

# A client that does not read gets no more than this ahead; then its output is dropped, with a count.
CLIENT_BYTES = 4 << 20
# What waits for the node before clients are read again.
NODE_BYTES = 64 << 10
ALIVE_SECONDS = 20
# Until a request is repeated, each time twice as long. Once they are more than LATE_SECONDS the node is only asked what became of it:
# it may be another one by then, which must not begin it.
REPEAT_SECONDS, LATE_SECONDS, MAX_REPEAT_SECONDS = 2, 10, 60
# For a client that does not read, at the end.
FLUSH_SECONDS = 1
# Of ids of replies that have come, told at once.
GOT_NAMES = 8


class _Asked:
    """A request on its way. wanted: the client's own id for it."""

    def __init__(self, client, wanted, request):
        self.client, self.wanted, self.request = client, wanted, request
        self.delay = REPEAT_SECONDS
        self.due = time.monotonic() + self.delay

    def line(self):
        return frames.seal(json.dumps(self.request).encode()) + b"\n"

    def repetition(self, now):
        self.delay = min(2 * self.delay, MAX_REPEAT_SECONDS)
        self.due = now + self.delay
        if self.delay > LATE_SECONDS:
            self.request["again"] = True
        return frames.TO_BEGINNING + self.line()


class _Client:
    def __init__(self, connection):
        self.connection = connection
        self.reader = frames.Reader()
        self.out = bytearray()
        self.streams = {}  # its numbers to ours
        self.lost = collections.Counter()  # bytes of output dropped, by its streams
        self.is_gone = False

    def send_frame(self, kind, stream, payload):
        if kind == frames.OUTPUT and len(self.out) > CLIENT_BYTES:
            self.lost[stream] += len(payload)
            return
        if self.lost[stream]:
            self.out += frames.make(frames.LOST, stream, self.lost.pop(stream).to_bytes(4, "little"))
        self.out += frames.make(kind, stream, payload)


class Line:
    """Serves a control line to clients, in a thread, until close() or the node's end.

    node: a connected socket, the line itself. listener: a listening UNIX socket.
    """

    def __init__(self, node, listener):
        self._node, self._listener = node, listener
        self._out = bytearray()
        self._is_begun = False  # the node has heard of us
        self._reader = frames.Reader()
        self._clients = {}
        self._requests = {}  # by our ids
        self._got = collections.deque()  # ids of replies that the node may forget
        self._nameless = collections.deque()  # clients who sent what has no id
        self._streams = {}  # our numbers to (client, its number)
        # No other's, whoever speaks to this node after us.
        self._nonce = os.urandom(4).hex()
        self._names = itertools.count(1)
        self._next = 1
        self._alive_at = 0
        self._wake, self._woken = os.pipe()
        self._selector = selectors.DefaultSelector()
        node.setblocking(False)
        listener.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(node, selectors.EVENT_READ)
        self._is_open = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._is_open = False
        try:
            os.write(self._woken, b"x")
        except OSError:
            pass
        self._thread.join()

    def _run(self):
        try:
            while self._is_open and self._turn():
                pass
        finally:
            for client in list(self._clients.values()):
                self._flush(client)
                client.connection.close()
            self._selector.close()
            self._node.close()
            os.close(self._wake)
            os.close(self._woken)

    @staticmethod
    def _flush(client):
        """What has come for it before the end is its own still, unless it does not read."""
        try:
            client.connection.settimeout(FLUSH_SECONDS)
            client.connection.sendall(client.out)
        except OSError:
            pass

    def _turn(self):
        now = time.monotonic()
        if self._streams and now >= self._alive_at:
            self._out += frames.make(frames.ALIVE, 0)
            self._alive_at = now + ALIVE_SECONDS
        for asked in self._requests.values():
            if asked.due <= now:
                self._out += asked.repetition(now)
        full = len(self._out) >= NODE_BYTES
        read, write = selectors.EVENT_READ, selectors.EVENT_WRITE
        self._selector.modify(self._node, read | (write if self._out else 0))
        for client in self._clients.values():
            events = (0 if full else read) | (write if client.out else 0)
            self._listen(client.connection, events)
        due = min((asked.due for asked in self._requests.values()), default=now + ALIVE_SECONDS)
        for key, events in self._selector.select(min(ALIVE_SECONDS, max(0, due - now))):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._node:
                if not self._node_event(events):
                    return False
            elif key.fileobj != self._wake:
                self._client_event(self._clients[key.fileobj], events)
        for client in [c for c in self._clients.values() if c.is_gone]:
            self._forget(client)
        return True

    def _listen(self, connection, events):
        known = connection in self._selector.get_map()
        if not events and known:
            self._selector.unregister(connection)
        elif events and known:
            self._selector.modify(connection, events)
        elif events:
            self._selector.register(connection, events)

    def _accept(self):
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        self._clients[connection] = _Client(connection)

    def _forget(self, client):
        self._listen(client.connection, 0)
        client.connection.close()
        del self._clients[client.connection]
        for number in client.streams.values():
            del self._streams[number]
            self._out += frames.make(frames.CLOSE, number)

    @staticmethod
    def _receive(connection):
        try:
            return connection.recv(65536)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    @staticmethod
    def _transmit(connection, out):
        try:
            del out[: connection.send(out)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            return False
        return True

    def _node_event(self, events):
        is_deaf = bool(events & selectors.EVENT_WRITE) and not self._transmit(self._node, self._out)
        if is_deaf:
            self._out.clear()  # it has ended; what it said last is to be read
        if events & selectors.EVENT_READ or is_deaf:
            data = self._receive(self._node)
            if data == b"":
                return False
            for kind, *found in self._reader.feed(data or b""):
                if kind == "line":
                    self._reply(found[0])
                else:
                    self._node_frame(*found)
        return True

    def _client_event(self, client, events):
        if events & selectors.EVENT_WRITE and not self._transmit(client.connection, client.out):
            client.is_gone = True
        if events & selectors.EVENT_READ and not client.is_gone:
            data = self._receive(client.connection)
            client.is_gone = data == b""
            if data and not self._is_begun:
                self._is_begun = True
                self._out += frames.TO_BEGINNING + frames.make(frames.RESET, 0)
            for kind, *found in client.reader.feed(data or b""):
                if kind == "line":
                    self._request(client, found[0])
                else:
                    self._client_frame(client, *found)

    def _number(self):
        """A stream number that is free, none of the last 65535."""
        while True:
            self._next = self._next % 65535 + 1
            if self._next not in self._streams:
                return self._next

    def _request(self, client, line):
        if not line.strip():
            return
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._nameless.append(client)
            self._out += line + b"\n"
            return
        name = f"{self._nonce}-{next(self._names)}"
        got = [self._got.popleft() for _ in range(min(GOT_NAMES, len(self._got)))]
        wanted = request.get("id")
        # What is said of repetitions is ours to say.
        request = {key: value for key, value in request.items() if key not in ("got", "again")} | {"id": name}
        if got:
            request["got"] = " ".join(got)
        asked = self._requests[name] = _Asked(client, wanted, request)
        self._out += asked.line()

    def _reply(self, line):
        text = frames.unsealed(line)
        try:
            reply = json.loads(line if text is None else text)
        except ValueError:
            return
        name = reply.get("id") if isinstance(reply, dict) else None
        client = None
        if text is None:
            # Only what has no name is answered without a CRC.
            if name is None and self._nameless:
                client = self._nameless.popleft()
        elif name in self._requests:
            asked = self._requests.pop(name)
            self._got.append(name)
            client = asked.client
            line = text.replace(json.dumps(name).encode(), json.dumps(asked.wanted).encode(), 1)
        if client and not client.is_gone:
            client.out += line + b"\n"

    def _client_frame(self, client, kind, stream, payload):
        if kind in (frames.RESET, frames.ALIVE):
            return  # they are ours to send
        number = client.streams.get(stream)
        if kind in (frames.OPEN, frames.CHUNK) and number is None:
            number = client.streams[stream] = self._number()
            self._streams[number] = client, stream
        if number is None:
            return
        self._out += frames.make(kind, number, payload)
        if kind == frames.CLOSE:
            del client.streams[stream], self._streams[number]

    def _node_frame(self, kind, number, payload):
        client, stream = self._streams.get(number, (None, None))
        if client is None:
            return
        client.send_frame(kind, stream, payload)
        if kind in (frames.CLOSED, frames.REFUSED):
            del client.streams[stream], self._streams[number]
