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


    def test_a_sealed_line(self):
        text = b'{"id": "a 0123abcd"}'
        sealed = frames.seal(text)
        self.assertEqual(frames.unsealed(sealed), text)
        self.assertIsNone(frames.unsealed(text))
        for at in range(len(sealed)):
            self.assertIsNone(frames.unsealed(sealed[:at] + sealed[at + 1 :]), "a byte is missing")
            self.assertIsNone(frames.unsealed(sealed[: at + 1] + sealed[at:]), "a byte is there twice")
            self.assertIsNone(frames.unsealed(sealed[:at] + bytes([sealed[at] ^ 0x20]) + sealed[at + 1 :]))


class LastWords(unittest.TestCase):
    def test_what_the_node_says_last_arrives(self):
        """It answers, and has gone before anybody could look."""
        for _ in range(50):
            with tempfile.TemporaryDirectory() as directory:
                path = pathlib.Path(directory, "ctl")
                listener = ctl.listen(path)
                node, ours = socket.socketpair()
                shared = line.Line(ours, listener)
                client = ctl.Client(path, 60)
                name = client._send_request({"command": "shutdown"})
                reader, request = frames.Reader(), None
                while request is None:
                    for kind, *found in reader.feed(node.recv(65536)):
                        if kind == "line" and found[0].strip():
                            request = json.loads(frames.unsealed(found[0]))
                reply = json.dumps({"id": request["id"], "ok": True, "result": None}, separators=(",", ":"))
                node.sendall(frames.seal(reply.encode()) + b"\n")
                node.close()
                self.assertTrue(client._reply(name)[1]["ok"])
                shared.close()
                listener.close()


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
            request = json.loads(frames.unsealed(text) or text)
        except ValueError:
            self._connection.sendall(b'{"id":null,"ok":false,"error":"not JSON"}\n')
            return
        reply = json.dumps({"id": request["id"], "ok": True, "result": request["command"]}, separators=(",", ":"))
        self._held.append(frames.seal(reply.encode()) + b"\n")
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


class LossyNode:
    """Loses and doubles bytes both ways. Counts how often each request was carried out, and how many answers it keeps."""

    def __init__(self, connection):
        self._connection, self._random = connection, random.Random(7)
        self.done, self.answers, self.most = {}, {}, 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _damaged(self, data):
        chance = self._random.random()
        at = self._random.randrange(len(data))
        if chance < 0.2:
            return data[:at] + data[at + 1 + self._random.randrange(12) :]
        return data[: at + 1] + data[at:] if chance < 0.3 else data

    def _serve(self):
        reader = frames.Reader()
        while data := self._connection.recv(65536):
            for kind, *found in reader.feed(self._damaged(data)):
                text = frames.unsealed(found[0]) if kind == "line" else None
                if text is None:
                    continue
                request = json.loads(text)
                name = request["id"]
                for got in request.get("got", "").split():
                    self.answers.pop(got, None)
                if name not in self.answers:
                    self.done[request["n"]] = self.done.get(request["n"], 0) + 1
                    reply = json.dumps({"id": name, "ok": True, "result": request["n"]})
                    self.answers[name] = frames.seal(reply.encode()) + b"\n"
                    self.most = max(self.most, len(self.answers))
                self._connection.sendall(frames.TO_BEGINNING + self._damaged(self.answers[name]))


class LossyLine(unittest.TestCase):
    def test_each_request_is_carried_out_once_and_answered(self):
        saved = line.REPEAT_SECONDS
        self.addCleanup(setattr, line, "REPEAT_SECONDS", saved)
        line.REPEAT_SECONDS = 0.02
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = pathlib.Path(directory.name, "ctl")
        ours, theirs = socket.socketpair()
        node, listener = LossyNode(theirs), ctl.listen(path)
        shared = line.Line(ours, listener)
        self.addCleanup(listener.close)
        self.addCleanup(shared.close)
        with ctl.Client(path, 600) as client:
            for n in range(300):
                self.assertEqual(client.ask({"command": "x", "n": n, "got": "y", "again": True})[1]["result"], n)
        self.assertEqual(node.done, {n: 1 for n in range(300)})
        self.assertEqual(node.most, 1)


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
