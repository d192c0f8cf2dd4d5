"""A terminal of one's own on a VM of a running node."""

import contextlib
import os
import select
import sys
import termios
import tty

import frames

ESCAPE = 0x1D  # Ctrl-]
STREAM = 1
HELP = (
    b"\r\n[Ctrl-] q leaves; Ctrl-] s types the size of this window for the guest's shell;"
    b" Ctrl-] Ctrl-] sends one Ctrl-]]\r\n"
)


@contextlib.contextmanager
def _raw(terminal):
    """The terminal passes on every key as it is. What is no terminal stays as it is."""
    if not os.isatty(terminal):
        yield
        return
    saved = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, saved)


def _size_command(terminal):
    """What tells the guest's shell how large the window is: a serial line cannot."""
    try:
        columns, rows = os.get_terminal_size(terminal)
    except OSError:
        return b""
    return f"stty rows {rows} cols {columns}\n".encode()


class Keys:
    """Takes what is typed apart: bytes for the guest, and what the escape key asks for."""

    def __init__(self):
        self._is_escaped = False

    def take(self, data):
        """Yields ("guest", bytes), ("quit",), ("size",) and ("help",)."""
        text = bytearray()
        for byte in data:
            if not self._is_escaped:
                if byte == ESCAPE:
                    self._is_escaped = True
                else:
                    text.append(byte)
                continue
            self._is_escaped = False
            if byte == ESCAPE:
                text.append(byte)
                continue
            if text:
                yield "guest", bytes(text)
                text.clear()
            yield ({ord("q"): "quit", ord("."): "quit", ord("s"): "size"}.get(byte, "help"),)
        if text:
            yield "guest", bytes(text)


class _Session:
    def __init__(self, client, window, keyboard, screen):
        self._client = client
        self._window = self._whole_window = window
        self._keyboard, self._screen = keyboard, screen
        self._typed = bytearray()
        self._keys = Keys()
        self._has_keyboard = True

    def _show(self, data):
        while data:
            data = data[os.write(self._screen, data) :]

    def _send(self):
        while self._typed and self._window:
            count = min(len(self._typed), self._window, frames.MAX_PAYLOAD)
            self._client.send(frames.make(frames.DATA, STREAM, bytes(self._typed[:count])))
            del self._typed[:count]
            self._window -= count

    def _type(self):
        """False: the user leaves."""
        data = os.read(self._keyboard, 4096)
        self._has_keyboard = bool(data)
        for what, *text in self._keys.take(data):
            if what == "quit":
                return False
            if what == "guest":
                self._typed += text[0]
            elif what == "size":
                self._typed += _size_command(self._screen)
            else:
                self._show(HELP)
        return True

    def _frame(self):
        """Why the console was closed, or None."""
        kind, stream, payload = self._client.frame()
        if stream != STREAM:
            return None
        if kind == frames.OUTPUT:
            self._show(payload)
        elif kind == frames.LOST:
            self._show(b"\r\n[%d bytes lost]\r\n" % int.from_bytes(payload, "little"))
        elif kind == frames.WINDOW:
            self._window += int.from_bytes(payload, "little")
        elif kind == frames.CLOSED:
            return payload.decode(errors="replace") or "the console was closed"
        return None

    def run(self):
        while True:
            while self._client.has_frame():
                if why := self._frame():
                    return why
            self._send()
            if not self._has_keyboard and not self._typed and self._window == self._whole_window:
                return None  # the input has ended, and the guest has taken it
            # Typing waits while the guest does not take what was typed before.
            wants_keys = self._has_keyboard and len(self._typed) < 65536
            ready, _, _ = select.select([self._client] + [self._keyboard] * wants_keys, [], [])
            if self._keyboard in ready and not self._type():
                return None
            if self._client in ready:
                self._client.read()


def attach(client, vm, keyboard=None, screen=None):
    """Until the user leaves or the input ends: None; until the VM or the node goes: why. File descriptors."""
    keyboard = sys.stdin.fileno() if keyboard is None else keyboard
    screen = sys.stdout.fileno() if screen is None else screen
    window = client.open(f"console {vm}", STREAM)
    client.wait_as_long_as_it_takes()
    if os.isatty(keyboard):
        os.write(screen, f"[console of {vm}; Ctrl-] q leaves]\r\n".encode())
    with _raw(keyboard):
        return _Session(client, window, keyboard, screen).run()
