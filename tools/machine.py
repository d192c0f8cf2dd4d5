"""What the emulators share: a node that runs as a process, its console, and what its end means.

An emulator is a command line. Its standard input and output are the node's COM1; it may pass on a
listening socket as COM2. Its exit status says how the node ended, as QEMU's isa-debug-exit does.
"""

import contextlib
import dataclasses
import pathlib
import re
import select
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time

import ctl
import line

# isa-debug-exit: writing v ends QEMU with status 2v + 1. The node writes 0x10 when it powers off as
# it should, 0x11 when something failed.
STATUS_OFF = 0x10 * 2 + 1
STATUS_FAILED = 0x11 * 2 + 1
# What the node needs besides the guest's memory and the boot modules: also a copy of a guest of the default size, with room to spare.
NODE_MEMORY_MIB = 272
# The kernel's option that sends its reports and the servers' lines to COM3.
LOG_OPTION = "log=0x3e8"
# What QEMU's stdio multiplexer prints for Ctrl-A X.
LEFT_BY_USER = b"QEMU: Terminated"

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_HALTED, EXIT_TIME_LIMIT = 0, 1, 2, 3, 124
# What a guest's end has to do with its processor, servers/vmm/exits/halt.cpp.
HALTED = re.compile(r"margay: guest .* failed: halted with interrupts off")
# What servers/init/power.cpp says when it is late: why the node stops was said before.
NOT_THE_REASON = "margay: this machine cannot be turned off by software"
# From the default guest's init, tools/initramfs.py.
COMMAND_STATUS = re.compile(r"^Margay guest: the command ended with status (\d+)$", re.MULTILINE)


@dataclasses.dataclass
class End:
    """How a run ended: an exit status for the user, the reason when it is not 0, and the console's output."""

    status: int
    reason: str = ""
    output: bytes = b""


def failure_reason(console, fallback):
    """The last line of the console output with which the node says why it stops."""
    found = [line for line in console_lines(console) if line.startswith("margay: ")]
    found = [line for line in found if not line.startswith(NOT_THE_REASON)]
    return found[-1] if found else f"margay: {fallback}"


def command_status(console):
    """The exit status of the command that the default guest ran; None if it has not said it."""
    found = COMMAND_STATUS.findall("\n".join(console_lines(console)))
    return int(found[-1]) if found else None


class Queries:
    """Takes out of console output what asks a terminal for an answer: where there is none, it only disturbs."""

    _whole = re.compile(rb"\x1b(?:\[[0-9;?>]*[nc]|Z)")
    _begun = re.compile(rb"\x1b(?:\[[0-9;?>]{0,20})?\Z")

    def __init__(self):
        self._rest = b""

    def without(self, data):
        """The part of the output so far that can be passed on."""
        data = self._whole.sub(b"", self._rest + data)
        begun = self._begun.search(data)
        self._rest = begun[0] if begun else b""
        return data[: len(data) - len(self._rest)]

    def rest(self):
        return self._rest


def plain_text(output):
    """Text without what only a terminal understands."""
    return re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])", "", output.decode("utf-8", "replace"))


def console_lines(console):
    """The console output as lines."""
    return [line.strip("\r\0") for line in plain_text(console).split("\n")]


def end_of(status, console, errors=""):
    """What the emulator's exit status, the console output and the emulator's own messages mean."""
    if status == STATUS_OFF:
        return End(EXIT_OK)
    if status == STATUS_FAILED:
        reason = failure_reason(console, "the node failed and gave no reason")
        return End(EXIT_HALTED if HALTED.match(reason) else EXIT_FAILED, reason)
    if status == 0 and console.rstrip(b"\r\n").endswith(LEFT_BY_USER):
        return End(EXIT_OK)
    if status == 0:
        return End(EXIT_FAILED, failure_reason(console, "the node reset itself or was turned off"))
    said = [line for line in errors.splitlines() if line.strip()]
    return End(EXIT_FAILED, f"margay: {said[-1]}" if said else f"margay: the emulator ended with status {status}")


class SharedLine:
    """A control line that several clients use at once: the emulator serves one.

    listener: where clients come. emulator: a listening socket for the emulator to serve, to be passed on.
    """

    def __init__(self, listener, directory):
        path = pathlib.Path(directory, "line")
        self.emulator = ctl.listen(path)
        node = socket.socket(socket.AF_UNIX)
        with ctl.short_path(path) as short:
            node.connect(short)
        self._line = line.Line(node, listener)

    def close(self):
        self._line.close()
        self.emulator.close()


@contextlib.contextmanager
def terminal_kept():
    """Puts the terminal back as it was: an emulator cannot do it when it is killed."""
    try:
        saved = termios.tcgetattr(sys.stdin)
    except (termios.error, ValueError, OSError):
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)


def _pass_on(process, timeout):
    """Passes console output on until the emulator ends; its exit status, None at the time limit."""
    deadline = None if timeout is None else time.monotonic() + timeout
    queries, output = Queries(), sys.stdout.buffer
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return None
        if not select.select([process.stdout], [], [], left)[0]:
            continue
        data = process.stdout.read(65536)
        output.write(queries.without(data) if data else queries.rest())
        output.flush()
        if not data:
            return process.wait()


def run(command, console, timeout, headless, shared, clean):
    """Runs an emulator to its end in the user's terminal; an End.

    command: the whole command line. console: the file into which it copies the console output. shared: a
    SharedLine, or None. clean: what is left of the emulator's messages for the user.
    """
    with tempfile.TemporaryDirectory(prefix="margay-") as temporary:
        errors_file = pathlib.Path(temporary, "errors")
        with open(errors_file, "wb") as errors, terminal_kept():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if headless else None,
                stdout=subprocess.PIPE if headless else None,
                stderr=errors,
                bufsize=0,
                pass_fds=[shared.emulator.fileno()] if shared else [],
            )
            try:
                status = _pass_on(process, timeout) if headless else process.wait(timeout)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        if status is None:
            end = End(EXIT_TIME_LIMIT, f"margay: time limit of {timeout:g} s reached")
        else:
            end = end_of(status, console.read_bytes(), clean(errors_file.read_text(errors="replace")))
        end.output = console.read_bytes()
        return end


# How long what an emulator has started may outlive it.
END_SECONDS = 10


class Output:
    """What comes out of a pipe, which is read all the time: an emulator whose pipe is full loses what it has to say.

    Use as a context manager.
    """

    def __init__(self, pipe):
        self._pipe = pipe
        self._data = bytearray()
        self._seen = 0  # what grows() has told of
        self._is_ended = False
        self._reading = threading.Lock()  # never held by who waits for the other end
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            select.select([self._pipe], [], [])
            with self._reading:
                data = self._pipe.read(65536)
            with self._more:
                self._data += data or b""
                self._is_ended = not data
                self._more.notify_all()
            if not data:
                return

    def bytes(self):
        with self._more:
            return bytes(self._data)

    def grows(self, seconds):
        """Waits for more than at the last call; False when there is none any more, None when the time is over."""
        with self._more:
            if not self._more.wait_for(lambda: self._is_ended or len(self._data) > self._seen, max(0, seconds)):
                return None
            has_grown = len(self._data) > self._seen
            self._seen = len(self._data)
            return has_grown

    @contextlib.contextmanager
    def unread(self):
        """Nobody reads meanwhile."""
        with self._reading:
            yield

    def close(self):
        """The other end must be closed, or soon be."""
        self._thread.join(END_SECONDS)
        if not self._thread.is_alive():
            self._pipe.close()


class Captured:
    """An emulator in the background, with console input and output, for tests.

    Use as a context manager; leaving it ends the emulator. `timeout` bounds the whole run, in seconds.
    control_options: from the descriptor of a listening socket to the options that make it COM2. Without
    control_line the machine has one serial port only, and ctl() cannot be used.
    """

    def __init__(self, command, timeout, control_options, control_line=True, last_options=()):
        self.deadline = time.monotonic() + timeout
        self._searched = 0
        self.directory = tempfile.TemporaryDirectory(prefix="margay-")
        self._errors = open(pathlib.Path(self.directory.name, "errors"), "w+")
        self._control_path = pathlib.Path(self.directory.name, "ctl")
        self._control = None
        self._listener = ctl.listen(self._control_path) if control_line else None
        self._shared = SharedLine(self._listener, self.directory.name) if control_line else None
        shared = [self._shared.emulator.fileno()] if control_line else []
        self.process = subprocess.Popen(
            [*command, *(control_options(shared[0]) if shared else []), *last_options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            pass_fds=shared,
        )
        self._output = Output(self.process.stdout)

    def __enter__(self):
        return self

    @property
    def output(self):
        """All console output so far."""
        return self._output.bytes()

    def nobody_reads(self):
        """As a context manager: the console's output is not taken meanwhile."""
        return self._output.unread()

    def __exit__(self, *_):
        if self._control:
            self._control.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self._output.close()
        if self._shared:
            self._shared.close()
            self._listener.close()
        self._errors.close()
        self.directory.cleanup()

    def _read(self):
        """Waits for more console output; False when there is none any more."""
        more = self._output.grows(self.deadline - time.monotonic())
        if more is None:
            raise TimeoutError("time limit reached")
        return more

    def expect(self, pattern):
        """Waits for console output that matches, after what was matched before; the match."""
        wanted = re.compile(pattern.encode() if isinstance(pattern, str) else pattern, re.MULTILINE)
        while True:
            found = wanted.search(self.output, self._searched)
            if found:
                self._searched = found.end()
                return found
            try:
                more = self._read()
            except TimeoutError:
                raise TimeoutError(f"time limit reached waiting for {pattern!r}") from None
            if not more:
                said = self.errors().strip()
                raise EOFError(f"the node ended before it printed {pattern!r}" + (f"\n{said}" if said else ""))

    def send(self, text):
        """Types on the console."""
        self.process.stdin.write(text.encode())

    def pause(self, seconds):
        """Lets the node go on for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if time.monotonic() > self.deadline:
                raise TimeoutError("time limit reached")
            if self._output.grows(left) is False:
                raise EOFError("the node has ended")

    def ctl(self, **request):
        """Sends a request to the node console, as ctl(command="suspend", vm="linux"); the reply.

        The node must be up: wait for what it prints first.
        """
        client = self._control_client()
        if time.monotonic() > self.deadline:
            raise TimeoutError(f"time limit reached before {request}")
        client.set_timeout(self.deadline - time.monotonic())
        try:
            return client.ask(request)[1]
        except ctl.NoAnswer:
            raise TimeoutError(f"time limit reached, no answer to {request}") from None
        except ctl.Unreachable as error:
            self.wait()  # what it said last is why
            raise EOFError(f"{error}: {request}") from None

    @property
    def control_path(self):
        """The socket of the node's control line."""
        return self._control_path

    def ctl_bytes(self, data):
        """Sends bytes that need not be a request."""
        self._control_client().send(data)

    def _control_client(self):
        if not self._control:
            left = max(0.1, self.deadline - time.monotonic())
            self._control = ctl.Client(self._control_path, left)
        return self._control

    def wait(self):
        """Waits for the emulator's end; its exit status."""
        while self._read():
            pass
        return self.process.wait(max(0.1, self.deadline - time.monotonic()))

    def end(self):
        """Waits for the emulator's end; an End."""
        status = self.wait()
        return end_of(status, self.output, self.errors())

    def errors(self):
        """What the emulator itself said."""
        self._errors.seek(0)
        return self._errors.read()

    def lines(self):
        return console_lines(self.output)
