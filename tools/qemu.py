"""The emulated node: QEMU's command line and what its end means."""

import contextlib
import dataclasses
import pathlib
import re
import subprocess
import sys
import tempfile
import termios
import time

import common
import ctl

OVMF = pathlib.Path("/usr/share/OVMF")
EXIT_PORT = 0xF4
# isa-debug-exit: writing v ends QEMU with status 2v + 1. The node writes 0x10 when it powers off as
# it should, 0x11 when something failed.
STATUS_OFF = 0x10 * 2 + 1
STATUS_FAILED = 0x11 * 2 + 1
# What the node needs besides the guest's memory and the boot modules.
NODE_MEMORY_MIB = 256
# The kernel's option that sends its reports and the servers' lines to COM3.
LOG_OPTION = "log=0x3e8"
# What QEMU's stdio multiplexer prints for Ctrl-A X.
LEFT_BY_USER = b"QEMU: Terminated"

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_TIME_LIMIT = 0, 1, 2, 124


def command(image, memory_mib, cores=1, uefi=False, icount=False, debug=False, cpu="EPYC,+svm"):
    """QEMU's command line without the console."""
    line = ["qemu-system-x86_64", "-nodefaults", "-M", "q35", "-cpu", cpu, "-m", str(memory_mib)]
    line += ["-display", "none", "-no-reboot"]
    line += ["-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4"]
    if icount:
        # One instruction is one tick and one nanosecond; works with one core only.
        line += ["-accel", "tcg", "-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01,clock=vm"]
    else:
        line += ["-accel", "tcg", "-smp", str(cores)]
    if uefi:
        code, variables = OVMF / "OVMF_CODE_4M.fd", OVMF / "OVMF_VARS_4M.fd"
        line += ["-drive", f"if=pflash,format=raw,readonly=on,file={code}"]
        line += ["-drive", f"if=pflash,format=raw,snapshot=on,file={variables}"]
    line += ["-cdrom", str(image)]
    if debug:
        line += ["-s", "-S"]
    return line


@dataclasses.dataclass
class End:
    """How a run ended: an exit status for the user, and the reason when it is not 0."""

    status: int
    reason: str = ""


def failure_reason(console, fallback):
    """The last line of the console output with which the node says why it stops."""
    found = [line for line in console_lines(console) if line.startswith("margay: ")]
    return found[-1] if found else f"margay: {fallback}"


def console_lines(console):
    """The console output as lines, without what only a terminal understands."""
    text = console.decode("utf-8", "replace")
    text = re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])", "", text)
    return [line.strip("\r\0") for line in text.split("\n")]


def end_of(status, console, errors=""):
    """What QEMU's exit status, the console output and QEMU's own messages mean."""
    if status == STATUS_OFF:
        return End(EXIT_OK)
    if status == STATUS_FAILED:
        return End(EXIT_FAILED, failure_reason(console, "the node failed and gave no reason"))
    if status == 0 and console.rstrip(b"\r\n").endswith(LEFT_BY_USER):
        return End(EXIT_OK)
    if status == 0:
        return End(EXIT_FAILED, failure_reason(console, "the node reset itself or was turned off"))
    said = [line for line in errors.splitlines() if line.strip()]
    return End(EXIT_FAILED, f"margay: {said[-1]}" if said else f"margay: QEMU ended with status {status}")


def without_warnings(errors):
    """QEMU's messages without those about processor features that the emulation lacks."""
    return "\n".join(l for l in errors.splitlines() if "TCG doesn't support requested feature" not in l)


@contextlib.contextmanager
def terminal_kept():
    """Puts the terminal back as it was: QEMU cannot do it when it is killed."""
    try:
        saved = termios.tcgetattr(sys.stdin)
    except (termios.error, ValueError, OSError):
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)


def _control_line(listener):
    """QEMU's options for the second serial port: whoever connects to the listening socket has it."""
    chardev = f"socket,id=ctl,fd={listener.fileno()},server=on,wait=off"
    return ["-chardev", chardev, "-serial", "chardev:ctl"]


def run(line, log=None, timeout=None, headless=False, listener=None):
    """Runs QEMU with the console in the user's terminal, or only as output when headless.

    line: from command(). log: a file that gets the console output as well. listener: a listening UNIX
    socket for the node's control line.
    """
    with tempfile.TemporaryDirectory(prefix="margay-") as temporary:
        console = pathlib.Path(log) if log else pathlib.Path(temporary, "console")
        console.write_bytes(b"")
        # QEMU reads a comma in a value as the end of it.
        logfile = str(console).replace(",", ",,")
        line = line + ["-serial", "chardev:console"]
        if headless:
            line += ["-chardev", f"stdio,id=console,signal=on,logfile={logfile}", "-monitor", "none"]
        else:
            line += ["-chardev", f"stdio,id=console,mux=on,signal=off,logfile={logfile}"]
            line += ["-mon", "chardev=console"]
        if listener:
            line += _control_line(listener)
        errors_file = pathlib.Path(temporary, "errors")
        with open(errors_file, "wb") as errors, terminal_kept():
            process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL if headless else None,
                stderr=errors,
                pass_fds=[listener.fileno()] if listener else [],
            )
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        errors = without_warnings(errors_file.read_text(errors="replace"))
        if status is None:
            return End(EXIT_TIME_LIMIT, f"margay: time limit of {timeout:g} s reached")
        return end_of(status, console.read_bytes(), errors)


class Captured:
    """QEMU in the background, with console input and output and a monitor, for tests.

    Use as a context manager; leaving it ends QEMU. `timeout` bounds the whole run, in seconds.
    Without control_line the machine has one serial port only, and ctl() cannot be used.
    log: a file that gets what comes out of the third serial port (COM3, see LOG_OPTION).
    """

    def __init__(self, line, timeout, stop_at_end=False, control_line=True, log=None):
        self.deadline = time.monotonic() + timeout
        self.output = b""
        self._searched = 0
        self._directory = tempfile.TemporaryDirectory(prefix="margay-")
        self._monitor_path = pathlib.Path(self._directory.name, "qmp")
        self._errors = open(pathlib.Path(self._directory.name, "errors"), "w+")
        line = line + ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
        line += ["-qmp", f"unix:{self._monitor_path},server=on,wait=off", "-monitor", "none"]
        if stop_at_end:
            line += ["-no-shutdown"]
        self._control_path = pathlib.Path(self._directory.name, "ctl")
        listener = ctl.listen(self._control_path) if control_line else None
        if listener:
            line += _control_line(listener)
        if log:
            line += ["-chardev", f"file,id=log,path={log}", "-serial", "chardev:log"]
        self.process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            pass_fds=[listener.fileno()] if listener else [],
        )
        if listener:
            listener.close()
        self._monitor = None
        self._control = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._monitor:
            self._monitor.close()
        if self._control:
            self._control.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self._errors.close()
        self._directory.cleanup()

    def _read(self):
        """Waits for more console output; False when there is none any more."""
        import select

        left = self.deadline - time.monotonic()
        if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
            raise TimeoutError("time limit reached")
        data = self.process.stdout.read(65536)
        self.output += data or b""
        return bool(data)

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
                raise EOFError(f"the node ended before it printed {pattern!r}")

    def send(self, text):
        """Types on the console."""
        self.process.stdin.write(text.encode())

    def pause(self, seconds):
        """Lets the node go on for a while; what it prints is kept."""
        import select

        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if time.monotonic() > self.deadline:
                raise TimeoutError("time limit reached")
            if select.select([self.process.stdout], [], [], left)[0] and not self._read():
                raise EOFError("the node has ended")

    def ctl(self, **request):
        """Sends a request to the node console, as ctl(command="suspend", vm="linux"); the reply.

        The node must be up: wait for what it prints first.
        """
        return self._control_client().ask(request)[1]

    def ctl_bytes(self, data):
        """Sends bytes that need not be a request."""
        self._control_client().send(data)

    def _control_client(self):
        if not self._control:
            left = max(0.1, self.deadline - time.monotonic())
            self._control = ctl.Client(self._control_path, left)
        return self._control

    def wait(self):
        """Waits for QEMU's end; its exit status."""
        while self._read():
            pass
        return self.process.wait(max(0.1, self.deadline - time.monotonic()))

    def end(self):
        """Waits for QEMU's end; an End."""
        status = self.wait()
        return end_of(status, self.output, self.errors())

    def errors(self):
        self._errors.seek(0)
        return without_warnings(self._errors.read())

    def lines(self):
        return console_lines(self.output)

    def monitor(self, name, **arguments):
        """Runs a command of QEMU's machine protocol; what it returns."""
        import json
        import socket

        if not self._monitor:
            connection = socket.socket(socket.AF_UNIX)
            while True:
                try:
                    connection.connect(str(self._monitor_path))
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    if time.monotonic() > self.deadline:
                        raise TimeoutError("QEMU's monitor does not answer") from None
                    time.sleep(0.05)
            connection.settimeout(max(1, self.deadline - time.monotonic()))
            self._monitor = connection.makefile("rw")
            connection.close()
            self._monitor.readline()
            self.monitor("qmp_capabilities")
        self._monitor.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self._monitor.flush()
        for answer in self._monitor:
            answer = json.loads(answer)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise RuntimeError(f"{name}: {answer['error']['desc']}")
        raise EOFError("QEMU ended")

    def human(self, line):
        """Runs a command of QEMU's human monitor (`info mem`, `info registers`, `xp …`); its text."""
        return self.monitor("human-monitor-command", **{"command-line": line})
