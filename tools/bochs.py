#!/usr/bin/python3
"""Bochs, the second emulator, behind the shape of QEMU's command line: this program runs one node.

    bochs.py --image ISO [--memory MIB] [--cores N] [--cpu MODEL] [--control FD] [--log FILE]
             [--terminal] [--output FILE] [--trace FILE]

Standard input and output are the node's COM1. The exit status is what QEMU's isa-debug-exit gives (see
machine.py), so whoever drives QEMU drives this. Ending this process ends Bochs.
"""

import argparse
import ctypes
import os
import pathlib
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
import tty

import machine

DEFAULT_CPU = "ryzen"
MAX_CORES = 8
SHARE = pathlib.Path("/usr/share/bochs")
# Bochs prints what is written to this port (port_e9_hack); the node writes its result there as well.
EXIT_PORT = 0xE9
# Ticks of the time-stamp counter per emulated second: with more, timers come less often in relation to work.
TICKS_PER_SECOND = 200_000_000
# After the node has said how it ends: for the last characters of COM1, which take emulated time.
LAST_WORDS_SECONDS = 1.0
FIFO_BYTES = 14
PACE_SECONDS = 0.01
LEAVE = b"\x01x"  # Ctrl-A X, as in QEMU

CONFIGURATION = """\
config_interface: textconfig
display_library: term
plugin_ctrl: unmapped=true, biosdev=true, speaker=false, extfpuirq=true, parallel=false, serial=true
romimage: file={share}/BIOS-bochs-latest, options=fastboot
vgaromimage: file={share}/VGABIOS-lgpl-latest
vga: extension=vbe, realtime=0
cpu: model={cpu}, count={cores}, ips={ticks}, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={memory}, host={host}
clock: sync=none, time0=1700000000, rtc_sync=0
pci: enabled=1, chipset=i440fx
ata0-master: type=cdrom, path="{image}", status=inserted
boot: cdrom
port_e9_hack: enabled=1
com1: enabled=1, mode=term, dev={console}
{other_ports}
log: {log}
error: action={errors}
info: action=ignore
panic: action=fatal
"""


def command(image, memory_mib, cores=1, cpu=DEFAULT_CPU):
    """The command line that runs a node in Bochs, without the console (see machine.Captured)."""
    line = [sys.executable, "-B", str(pathlib.Path(__file__).resolve()), "--image", str(image)]
    line += ["--trace", os.environ["MARGAY_BOCHS_TRACE"]] if "MARGAY_BOCHS_TRACE" in os.environ else []
    return line + ["--memory", str(memory_mib), "--cores", str(cores), "--cpu", cpu]


def manifest(content):
    """A node manifest (bytes, or the file with it) for a node in Bochs: its exit port is another one."""
    text = content if isinstance(content, bytes) else pathlib.Path(content).read_bytes()
    return re.sub(rb'("test_exit_port": )\d+', rb"\g<1>%d" % EXIT_PORT, text)


class Captured(machine.Captured):
    """Bochs in the background, for tests. As qemu.Captured, without a monitor."""

    def __init__(self, line, timeout, control_line=True, log=None):
        line = line + (["--log", str(log)] if log else [])
        super().__init__(line, timeout, lambda fd: ["--control", str(fd)], control_line)


def run(line, log=None, timeout=None, headless=False, listener=None):
    """Runs a node with the console in the user's terminal, or only as output when headless."""
    with tempfile.TemporaryDirectory(prefix="margay-") as temporary:
        console = pathlib.Path(log) if log else pathlib.Path(temporary, "console")
        line = line + ["--output", str(console)] + ([] if headless else ["--terminal"])
        shared = machine.SharedLine(listener, temporary) if listener else None
        if shared:
            line += ["--control", str(shared.emulator.fileno())]
        try:
            return machine.run(line, console, timeout, headless, shared, lambda errors: errors)
        finally:
            if shared:
                shared.close()


def _die_with_parent():
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class _Line:
    """A serial line: the emulator's end is a terminal device, ours a file descriptor."""

    def __init__(self):
        self.fd, self._emulator = pty.openpty()
        tty.setraw(self._emulator)
        self.device = os.ttyname(self._emulator)
        os.set_blocking(self.fd, False)
        self._to_send = b""
        self._sent = 0.0

    def send(self, data):
        self._to_send += data
        self.flush()

    def flush(self):
        """Sends what is due; whether something is left. Bochs' UART loses what its FIFO has no room for."""
        if self._to_send and time.monotonic() - self._sent >= PACE_SECONDS:
            try:
                sent = os.write(self.fd, self._to_send[:FIFO_BYTES])
            except BlockingIOError:
                sent = 0
            self._to_send = self._to_send[sent:]
            self._sent = time.monotonic()
        return bool(self._to_send)

    def read(self):
        try:
            return os.read(self.fd, 65536)
        except (BlockingIOError, OSError):
            return b""


class _Control:
    """COM2: whoever connects to the listening socket has it, one at a time."""

    def __init__(self, fd):
        self._listener = socket.socket(fileno=fd)
        self._client = None
        self.line = _Line()

    def fds(self):
        return [self.line.fd, (self._client or self._listener).fileno()]

    def serve(self, ready):
        if self.line.fd in ready:
            data = self.line.read()
            if self._client and data:
                try:
                    self._client.sendall(data)
                except OSError:
                    self._drop()
        elif self._client and self._client.fileno() in ready:
            try:
                data = self._client.recv(4096)
            except OSError:
                data = b""
            self.line.send(data) if data else self._drop()
        elif not self._client and self._listener.fileno() in ready:
            self._client, _ = self._listener.accept()

    def _drop(self):
        self._client.close()
        self._client = None


class Emulator:
    def __init__(self, options, directory):
        self.options = options
        self.console = _Line()
        self.control = _Control(options.control) if options.control is not None else None
        self.log = pathlib.Path(options.trace) if options.trace else directory / "log"
        self.screen = b""  # what Bochs itself shows: its display, its messages, bytes written to port 0xe9
        self.status = None
        other_ports = [f"com2: enabled=1, mode=term, dev={self.control.line.device}"] if self.control else []
        if options.log:
            other_ports += [f"com3: enabled=1, mode=file, dev={options.log}"]
        # Bochs needs no host memory for what the node does not touch.
        configuration = CONFIGURATION.format(
            share=SHARE,
            cpu=options.cpu,
            cores=options.cores,
            ticks=TICKS_PER_SECOND,
            memory=options.memory,
            host=min(options.memory, 2048),
            image=options.image,
            console=self.console.device,
            other_ports="\n".join(other_ports),
            log=self.log,
            errors="report" if options.trace else "ignore",
        )
        (directory / "bochsrc").write_text(configuration)
        # Debian's Bochs has a debugger in it, which waits for a command.
        (directory / "commands").write_text("c\n")
        self.display, terminal = pty.openpty()
        os.set_blocking(self.display, False)
        self.process = subprocess.Popen(
            ["bochs", "-q", "-f", "bochsrc", "-rc", "commands"],
            cwd=directory,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=dict(os.environ, TERM="vt100"),
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        os.close(terminal)

    def _read_display(self):
        try:
            data = os.read(self.display, 65536)
        except (BlockingIOError, OSError):
            return
        self.screen = (self.screen + data)[-65536:]
        for byte, status in ((b"\x10", machine.STATUS_OFF), (b"\x11", machine.STATUS_FAILED)):
            if byte in data and self.status is None:
                self.status = status

    def serve(self, timeout):
        """Moves bytes for up to `timeout` seconds; what the console printed."""
        fds = [self.console.fd, self.display] + (self.control.fds() if self.control else [])
        extra = [0] if self.takes_input else []
        if self.console.flush() or (self.control and self.control.line.flush()):
            timeout = PACE_SECONDS
        ready = select.select(fds + extra, [], [], timeout)[0]
        if self.display in ready:
            self._read_display()
        if self.control:
            self.control.serve(ready)
        if 0 in ready:
            self._type(os.read(0, 4096))
        return self.console.read() if self.console.fd in ready else b""

    takes_input = True
    _held = b""

    def _type(self, data):
        if not data:
            self.takes_input = False
            return
        if self.options.terminal:
            data = self._held + data
            if LEAVE in data:
                self.status = machine.STATUS_OFF
                self.process.kill()
                return
            # Ctrl-A twice sends one.
            self._held = data[-1:] if data[-1:] == LEAVE[:1] and data[-2:] != LEAVE[:1] * 2 else b""
            data = data[: len(data) - len(self._held)].replace(LEAVE[:1] * 2, LEAVE[:1])
        self.console.send(data)

    def run(self, output):
        """Until Bochs ends, or the node has said how it ends."""
        silent_since = None
        while True:
            data = self.serve(0.2)
            if data:
                output(data)
            ended = self.process.poll() is not None
            if ended and not data:
                break
            if self.status is not None and not data:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > LAST_WORDS_SECONDS:
                    break
            else:
                silent_since = None
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._read_display()
        if self.status is not None:
            return self.status
        said = self._problem()
        if "soft power off" in said:
            return 0
        print(said, file=sys.stderr)
        return 1

    def _problem(self):
        """The last message that Bochs ended with."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        text += machine.plain_text(self.screen)
        found = re.findall(r">>PANIC<< (.*)", text) or re.findall(r"^\d+[pe]\[.*?\] (.*)", text, re.MULTILINE)
        return f"Bochs: {found[-1].strip()}" if found else f"Bochs ended with status {self.process.returncode}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--image", required=True)
    parser.add_argument("--memory", type=int, default=512)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--cpu", default=DEFAULT_CPU)
    parser.add_argument("--control", type=int, metavar="FD", help="a listening socket: COM2")
    parser.add_argument("--log", help="what comes out of COM3")
    parser.add_argument("--trace", help="Bochs' own messages, one per VM exit and fault among them")
    parser.add_argument("--output", help="what comes out of COM1, as well")
    parser.add_argument("--terminal", action="store_true", help="standard input is a terminal; Ctrl-A X leaves")
    options = parser.parse_args()
    options.image = pathlib.Path(options.image).resolve()
    # Bochs runs in a directory of its own.
    for name in ("log", "trace"):
        if getattr(options, name):
            setattr(options, name, pathlib.Path(getattr(options, name)).resolve())
    copy = open(options.output, "wb", buffering=0) if options.output else None

    def output(data):
        os.write(1, data)
        if copy:
            copy.write(data)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="margay-bochs-") as directory, machine.terminal_kept():
        if options.terminal and sys.stdin.isatty():
            tty.setraw(0, termios.TCSANOW)
        emulator = Emulator(options, pathlib.Path(directory))
        try:
            return emulator.run(output)
        finally:
            if emulator.process.poll() is None:
                emulator.process.kill()
                emulator.process.wait()


if __name__ == "__main__":
    sys.exit(main())
