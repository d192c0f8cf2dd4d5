#!/usr/bin/python3
"""The host's side of a control line: frames, the line that many share, a console's keys."""

import json
import os
import pathlib
import random
import socket
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "tools"))

import console
import ctl
import frames
import line


class Frames(unittest.TestCase):
    def test_come_out_as_they_went_in(self):
        payload = bytes(range(256)) * 4
        sent = b"{}\n" + frames.make(frames.DATA, 0x1234, payload) + b"[]\n" + frames.make(frames.OPEN, 1)
        for piece in (1, 3, 7, 2000):
            reader, found = frames.Reader(), []
            for at in range(0, len(sent), piece):
                found += reader.feed(sent[at : at + piece])
            self.assertEqual(found, [("line", b"{}"), ("frame", frames.DATA, 0x1234, payload), ("line", b"[]"),
                                     ("frame", frames.OPEN, 1, b"")])

    def test_each_changed_byte_is_found(self):
        good = frames.make(frames.DATA, 7, b"some payload")
        for at in range(1, len(good)):
            bad = good[:at] + bytes([good[at] ^ 0x40]) + good[at + 1 :]
            found = list(frames.Reader().feed(bad + frames.TO_BEGINNING))
            self.assertFalse([f for f in found if f[0] == "frame"], at)

    def test_line_ends_bring_it_back(self):
        source = random.Random(3)
        for _ in range(100):
            reader = frames.Reader()
            list(reader.feed(source.randbytes(source.randrange(3000))))
            found = list(reader.feed(frames.TO_BEGINNING + frames.make(frames.DATA, 1, b"x")))
            self.assertEqual(found[-1], ("frame", frames.DATA, 1, b"x"))


class FakeNode:
    """The other end of a line: answers requests in reverse order of pairs, echoes streams."""

    def __init__(self, connection):
        self._connection, self._held = connection, []
        self.opened, self.closed = [], []
        self.resets = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        reader = frames.Reader()
        while data := self._connection.recv(65536):
            for kind, *found in reader.feed(data):
                if kind == "line" and found[0].strip():
                    self._request(found[0])
                elif kind == "frame":
                    self._frame(*found)

    def _request(self, text):
        try:
            request = json.loads(text)
        except ValueError:
            self._connection.sendall(b'{"id":null,"ok":false,"error":"not JSON"}\n')
            return
        reply = json.dumps({"id": request["id"], "ok": True, "result": request["command"]}, separators=(",", ":"))
        self._held.append(reply.encode() + b"\n")
        if request["command"] != "hold":
            self._connection.sendall(b"".join(reversed(self._held)))
            self._held = []

    def _frame(self, kind, stream, payload):
        if kind == frames.RESET:
            self.resets += 1
        elif kind == frames.OPEN:
            self.opened.append(payload)
            answer = (frames.REFUSED, b"no") if payload == b"console none" else (frames.OPENED, b"\0\4\0\0")
            self._connection.sendall(frames.make(answer[0], stream, answer[1]))
        elif kind == frames.DATA:
            self._connection.sendall(frames.make(frames.OUTPUT, stream, payload.upper()))
            self._connection.sendall(frames.make(frames.WINDOW, stream, len(payload).to_bytes(4, "little")))
        elif kind == frames.CLOSE:
            self.closed.append(stream)


class SharedLine(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = pathlib.Path(directory.name, "ctl")
        ours, theirs = socket.socketpair()
        self.node = FakeNode(theirs)
        listener = ctl.listen(self.path)
        self.line = line.Line(ours, listener)
        self.addCleanup(listener.close)
        self.addCleanup(self.line.close)

    def client(self):
        client = ctl.Client(self.path, 20)
        self.addCleanup(client.close)
        return client

    def test_replies_find_their_clients(self):
        first, second = self.client(), self.client()
        first.send(b'{"id":7,"command":"hold"}\n')
        threading.Timer(0.2, lambda: second.send(b'{"id":7,"command":"list"}\n')).start()
        self.assertEqual(json.loads(second._line()), {"id": 7, "ok": True, "result": "list"})
        self.assertEqual(json.loads(first._line()), {"id": 7, "ok": True, "result": "hold"})
        self.assertEqual(self.node.resets, 1)

    def test_requests_without_a_name_and_what_is_no_request(self):
        client = self.client()
        client.send(b'{"command":"list"}\n')
        self.assertEqual(client._line(), b'{"id":null,"ok":true,"result":"list"}')
        client.send(b"nonsense\n")
        self.assertEqual(json.loads(client._line())["error"], "not JSON")

    def test_streams_of_the_same_number(self):
        clients = [self.client() for _ in range(5)]
        for n, client in enumerate(clients):
            self.assertEqual(client.open(f"console vm{n}"), 1024)
        for n, client in enumerate(clients):
            client.send(frames.make(frames.DATA, 1, b"text of %d" % n))
        for n, client in enumerate(clients):
            self.assertEqual(client.frame(), (frames.OUTPUT, 1, b"TEXT OF %d" % n))
        with self.assertRaises(ctl.Refused):
            clients[0].open("console none", 2)

    def test_a_client_that_goes_closes_its_streams(self):
        client = self.client()
        client.open("console a")
        client.close()
        other = self.client()
        while not self.node.closed:
            other.ask({"command": "list"})
        self.assertEqual(len(self.node.closed), 1)

    def test_a_console(self):
        client = self.client()
        keys, typed = os.pipe()
        shown, screen = os.pipe()
        data = random.Random(2).randbytes(20_000).replace(b"\x1d", b"")
        threading.Thread(target=lambda: (os.write(typed, data), os.close(typed)), daemon=True).start()
        got = bytearray()
        def read():
            while piece := os.read(shown, 65536):
                got.extend(piece)
        reader = threading.Thread(target=read)
        reader.start()
        self.assertIsNone(console.attach(client, "vm", keys, screen), "the input ends")
        os.close(screen)
        reader.join()
        self.assertEqual(bytes(got), data.upper())


class Keys(unittest.TestCase):
    def taken(self, *pieces):
        keys = console.Keys()
        return [found for piece in pieces for found in keys.take(piece)]

    def test_escapes(self):
        self.assertEqual(self.taken(b"ab\x1dqcd"), [("guest", b"ab"), ("quit",), ("guest", b"cd")])
        self.assertEqual(self.taken(b"a\x1d", b"\x1db"), [("guest", b"a"), ("guest", b"\x1db")])
        self.assertEqual(self.taken(b"\x1ds\x1d?"), [("size",), ("help",)])
        self.assertEqual(self.taken(b"\x1b[200~paste\x1b[201~"), [("guest", b"\x1b[200~paste\x1b[201~")])


if __name__ == "__main__":
    unittest.main()
