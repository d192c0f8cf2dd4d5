"""The emulated node: QEMU's command line."""

import pathlib
import tempfile
import time

import machine
from machine import (  # noqa: F401: for who drives QEMU
    EXIT_FAILED,
    EXIT_OK,
    EXIT_TIME_LIMIT,
    EXIT_USAGE,
    LOG_OPTION,
    NODE_MEMORY_MIB,
    STATUS_FAILED,
    STATUS_OFF,
    console_lines,
    end_of,
)

OVMF = pathlib.Path("/usr/share/OVMF")
EXIT_PORT = 0xF4
DEFAULT_CPU = "EPYC,+svm"
# QEMU's q35: from this size on, so much lies below 4 GiB, and the rest above.
SPLIT_FROM_MIB, LOW_MEMORY_MIB = 2816, 2048


def command(image, memory_mib, cores=1, uefi=False, icount=False, debug=False, cpu=DEFAULT_CPU,
            numa=1):
    """QEMU's command line without the console. numa: nodes with equal shares of memory and cores."""
    line = ["qemu-system-x86_64", "-nodefaults", "-M", "q35", "-cpu", cpu, "-m", str(memory_mib)]
    line += ["-display", "none", "-no-reboot"]
    line += ["-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4"]
    if icount:
        # One instruction is one tick and one nanosecond; several cores take turns, and Linux cannot start
        # its second one then.
        line += ["-accel", "tcg", "-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01,clock=vm"]
    else:
        line += ["-accel", "tcg"]
    line += ["-smp", str(cores)]
    for node in range(numa if numa > 1 else 0):
        line += ["-object", f"memory-backend-ram,id=node{node},size={memory_mib // numa}M"]
        first, last = cores * node // numa, cores * (node + 1) // numa - 1
        line += ["-numa", f"node,nodeid={node},memdev=node{node},cpus={first}-{last}"]
    if uefi:
        code, variables = OVMF / "OVMF_CODE_4M.fd", OVMF / "OVMF_VARS_4M.fd"
        line += ["-drive", f"if=pflash,format=raw,readonly=on,file={code}"]
        line += ["-drive", f"if=pflash,format=raw,snapshot=on,file={variables}"]
    line += ["-cdrom", str(image)]
    if debug:
        line += ["-s", "-S"]
    return line


def debug_port(file):
    """Options with which the file gets what is written to port 0xe9."""
    return ["-debugcon", f"file:{file}", "-global", "isa-debugcon.iobase=0xe9"]


def without_warnings(errors):
    """QEMU's messages without those about processor features that the emulation lacks."""
    return "\n".join(l for l in errors.splitlines() if "TCG doesn't support requested feature" not in l)


def _control_options(fd):
    """The second serial port: whoever connects to the listening socket has it."""
    return ["-chardev", f"socket,id=ctl,fd={fd},server=on,wait=off", "-serial", "chardev:ctl"]


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
        shared = machine.SharedLine(listener, temporary) if listener else None
        if shared:
            line += _control_options(shared.emulator.fileno())
        try:
            return machine.run(line, console, timeout, headless, shared, without_warnings)
        finally:
            if shared:
                shared.close()


class Captured(machine.Captured):
    """QEMU in the background, with console input and output and a monitor, for tests.

    log: a file that gets what comes out of the third serial port (COM3, see LOG_OPTION).
    """

    def __init__(self, line, timeout, stop_at_end=False, control_line=True, log=None):
        self._monitor_directory = tempfile.TemporaryDirectory(prefix="margay-")
        self._monitor_path = pathlib.Path(self._monitor_directory.name, "qmp")
        self._monitor = None
        line = line + ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
        line += ["-qmp", f"unix:{self._monitor_path},server=on,wait=off", "-monitor", "none"]
        if stop_at_end:
            line += ["-no-shutdown"]
        behind = ["-chardev", f"file,id=log,path={log}", "-serial", "chardev:log"] if log else []
        super().__init__(line, timeout, lambda fd: _control_options(fd), control_line, behind)

    def __exit__(self, *arguments):
        if self._monitor:
            self._monitor.close()
        super().__exit__(*arguments)
        self._monitor_directory.cleanup()

    def errors(self):
        return without_warnings(super().errors())

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
