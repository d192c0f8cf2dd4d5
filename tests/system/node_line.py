"""The serial lines of a node in use: nobody reads, somebody types much, many look at once. Argument: the case."""

import hashlib
import os
import random
import select
import threading

import console
import ctl
import fetch
import harness
import initramfs
import json

SERVERS = ("init", "pmem", "console", "vmm")
BYTES = 20_000
ROUNDS = 120


def _boot(node, *vms):
    defaults = {"memory_mib": 96, "kernel": "kernel", "initrd": "initrd", "append": "console=ttyS0 quiet", "hang_ms": 20000}
    manifest = {"vms": [{**defaults, **vm} for vm in vms], "test_exit_port": 244}
    modules = [(name, node.program(name)) for name in SERVERS]
    modules += [("manifest", json.dumps(manifest).encode()), ("kernel", fetch.kernel())]
    return node.boot([*modules, ("initrd", initramfs.base())])


def _check(condition, what):
    if not condition:
        raise harness.TestFailure(what)


def _much():
    """What a terminal can send, without the escape key of the first line."""
    letters = bytes(range(32, 127)) + b"\n\t"
    return bytes(random.Random(1).choices(letters, k=BYTES))


# The terminal passes everything on as it is meanwhile.
TAKE = f"stty raw -echo; echo ready; dd ibs=1 count={BYTES} of=/tmp/in 2>/dev/null; stty sane; md5sum /tmp/in\n"


class Terminal:
    """A console of one's own, as `./margay console` makes it."""

    def __init__(self, machine, vm):
        self._client = ctl.Client(machine.control_path, 60)
        self._keys, self._typed = os.pipe()
        self._shown, self._screen = os.pipe()
        self.output = b""
        self._thread = threading.Thread(target=self._run, args=(vm,), daemon=True)
        self._thread.start()

    def _run(self, vm):
        try:
            console.attach(self._client, vm, self._keys, self._screen)
        finally:
            os.close(self._screen)

    def send(self, data):
        os.write(self._typed, data)

    def expect(self, wanted):
        while wanted not in self.output:
            ready, _, _ = select.select([self._shown], [], [], 60)
            _check(ready, f"the console did not show {wanted!r} but {self.output[-300:]!r}")
            data = os.read(self._shown, 65536)
            _check(data, f"the console was closed before it showed {wanted!r}")
            self.output += data
        self.output = self.output[self.output.index(wanted) + len(wanted) :]

    def leave(self):
        self.send(b"\x1dq")
        self._thread.join(30)
        _check(not self._thread.is_alive(), "the console does not end")
        self._client.close()


def input(node):
    """Twenty thousand bytes typed on the first line, and through a console on the second one: each arrives."""
    with _boot(node, {"name": "linux"}) as machine:
        machine.expect(r"guest:.*# ")
        data = _much()
        wanted = hashlib.md5(data).hexdigest()
        machine.send(TAKE)
        machine.expect(r"^ready")
        machine.send(data.decode())
        machine.expect(wanted)
        machine.expect(r"guest:.*# ")
        terminal = Terminal(machine, "linux")
        # Behind what was shown before.
        terminal.send(b"echo mark$((40 + 2))\n")
        terminal.expect(b"\nmark42\r\n")
        terminal.expect(b"# ")
        terminal.send(TAKE.encode())
        terminal.expect(b"ready\n")
        terminal.send(data)
        terminal.expect(wanted.encode())
        terminal.leave()
        machine.send("poweroff -f\n")
        node.check_off(machine)


def input_other_cpu(node):
    """The vCPU that reads the serial line is not the one that hears of what was typed: each byte arrives once."""
    with _boot(node, {"name": "linux", "cpus": 2}) as machine:
        machine.expect(r"guest:.*# ")
        machine.send("echo 2 > /proc/irq/4/smp_affinity\n")
        data = _much()
        machine.send(TAKE)
        machine.expect(r"^ready")
        machine.send(data.decode())
        machine.expect(hashlib.md5(data).hexdigest())
        machine.expect(r"guest:.*# ")
        # Lines that come while others are answered.
        for n in range(ROUNDS):
            machine.send(f"echo one{n} $(echo a b c d e f g h i j k l m n o p q r s t u v w x y z); echo more\n")
            machine.expect(rf"^one{n} a")
            machine.send(f"echo two{n}\n")
            machine.expect(rf"^two{n}\r?$")
        machine.send("grep ttyS0 /proc/interrupts | tr -s ' '\n")
        _, second = machine.expect(r"^ 4: (\d+) (\d+) ").groups()
        _check(int(second) > 100, f"the second vCPU took {second} interrupts")
        machine.send("poweroff -f\n")
        node.check_off(machine)


def paste(node):
    """What a person does in the guest's shell: a long paste, in brackets or not, and the size of the window."""
    with _boot(node, {"name": "linux"}) as machine:
        machine.expect(r"guest:.*# ")
        machine.send("stty size\n")
        machine.expect(r"^24 80\r?$")
        # Many lines at once, as an editor's clipboard has them.
        lines = [f"line {n} of what was pasted" for n in range(80)]
        text = "".join(f"{line}\n" for line in lines)
        machine.send("cat > /tmp/pasted\n")
        machine.pause(0.5)
        machine.send(text + "\x04")
        machine.send("md5sum /tmp/pasted\n")
        machine.expect(hashlib.md5(text.encode()).hexdigest())
        # The brackets reach the program that asked for them.
        machine.send("cat -v\n")
        machine.pause(0.5)
        machine.send("\x1b[200~one\x1b[201~\n")
        machine.expect(r"\^\[\[200~one\^\[\[201~")
        machine.send("\x04")
        machine.expect(r"guest:.*# ")
        # Another size, as `./margay console` types it.
        terminal = Terminal(machine, "linux")
        terminal.send(b"stty rows 50 cols 132; stty size\n")
        terminal.expect(b"\n50 132\r\n")
        terminal.leave()
        machine.send("poweroff -f\n")
        node.check_off(machine)


def unread(node):
    """A guest prints without end and nobody reads: the node answers all the same, and says what was dropped."""
    with _boot(node, {"name": "linux"}) as machine:
        machine.expect(r"guest:.*# ")
        before = machine.ctl(command="dominfo", vm="linux")["result"]["exits"]
        with machine.nobody_reads():
            machine.send("yes 'nobody reads this line'\n")
            # The emulator's pipe and the node's rings are full long before that.
            exits = before
            while exits < before + 250_000:
                reply = machine.ctl(command="dominfo", vm="linux")
                _check(reply["ok"], reply)
                exits = reply["result"]["exits"]
        machine.expect(r"\[\d+ bytes of output were dropped: nobody took them\]")
        machine.send("\x03")
        machine.expect(r"guest:.*# ")
        machine.send("poweroff -f\n")
        node.check_off(machine)


def clients(node):
    """Two consoles, a log that is followed and requests, all at once."""
    with _boot(node, {"name": "one"}, {"name": "two", "console": "detached"}) as machine:
        machine.expect(r"guest:.*# ")
        one, two = Terminal(machine, "one"), Terminal(machine, "two")
        with ctl.Client(machine.control_path, 60) as follower:
            log = ctl.log_lines(follower, "two", True)
            _check("two" in next(log), "the log begins with another VM")
            for terminal in (one, two):
                terminal.send(b"\n")
                terminal.expect(b"# ")
            for n in range(20):
                one.send(b"echo one $((%d * 7))\n" % n)
                two.send(b"echo two $((%d * 9))\n" % n)
                with ctl.Client(machine.control_path, 60) as client:
                    _, reply = client.ask({"command": "list"})
                    _check([vm["name"] for vm in reply["result"]] == ["one", "two"], reply)
                one.expect(b"\none %d\r\n" % (n * 7))
                two.expect(b"\ntwo %d\r\n" % (n * 9))
            with ctl.Client(machine.control_path, 60) as client:
                try:
                    client.open("console three")
                    _check(False, "there is no VM three")
                except ctl.Refused as refused:
                    _check(refused.status == 5, refused)
            two.send(b"poweroff -f\n")
            while "powered off" not in next(log):
                pass
        with ctl.Client(machine.control_path, 60) as client:
            lines = list(ctl.log_lines(client, "two", False))
            _check("guest two powered off" in lines[-1] and not any("guest one " in l for l in lines), lines)
        one.leave()
        machine.send("poweroff -f\n")
        node.check_off(machine)


CASES = {case.__name__: case for case in (input, input_other_cpu, paste, unread, clients)}


def test(node):
    CASES[node.arguments[0]](node)
