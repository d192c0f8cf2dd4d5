"""The node console: typed on the serial line beside a guest's terminal, and by JSON on the second one."""

import fetch
import harness
import image
import initramfs

SERVERS = ("init", "pmem", "console", "vmm")
NEXT_TERMINAL = "\x1dn"


def _modules(node, append):
    manifest = image.manifest(memory_mib=128, append=append)
    modules = [(name, node.program(name)) for name in SERVERS]
    kernel = fetch.kernel("linux-image-cloud-amd64")
    return modules + [("manifest", manifest), ("kernel", kernel), ("initrd", initramfs.base())]


def _check(condition, what):
    if not condition:
        raise harness.TestFailure(what)


def _type(machine):
    machine.send(NEXT_TERMINAL)
    machine.expect(r"\[console of node; Ctrl-\] n: next\]\r?\n")
    machine.expect(r"Margay node console; help lists the commands\r\nmargay> ")
    machine.send("list\r")
    machine.expect(r"^Id  Name +State +Core +Memory +Exits +VMM +Restarts")
    machine.expect(r"^1   linux +running +0 +128 MiB +\d+ +vmm +0 ")
    machine.expect(r"^margay> ")
    # A mistake that is corrected, and one that is not.
    machine.send("dominfp\x7fo 1\r")
    machine.expect(r"^Name: +linux")
    machine.expect(r"^State: +running")
    machine.expect(r"^margay> ")
    machine.send("lst\r")
    machine.expect(r"^error: unknown command 'lst'; try help\r$")
    machine.send("help dominfo\r")
    machine.expect(r"^  dominfo VM  show everything")
    machine.send("modules\r")
    machine.expect(r"^vmm +\d+ KiB")


def _console_of_the_guest(machine):
    machine.send("console linux\r")
    machine.expect(r"\[console of linux; Ctrl-\] n: next\]\r?\n")
    machine.send("echo sum $((40 + 2))\n")
    machine.expect(r"^sum 42\r?$")
    machine.send(NEXT_TERMINAL)
    machine.expect(r"\[console of node")
    reply = machine.ctl(command="console", vm="linux")
    _check(reply["ok"], reply)
    machine.expect(r"\[console of linux")


def _requests(machine):
    reply = machine.ctl(command="list")
    _check(reply["ok"], reply)
    _check([vm["name"] for vm in reply["result"]] == ["linux"], reply)
    vm = machine.ctl(command="dominfo", vm="linux")["result"]
    _check((vm["state"], vm["memory_mib"], vm["core"], vm["vmm"]) == ("running", 128, 0, "vmm"), vm)
    _check(vm["exits"] >= 0 and vm["reason"] == "", vm)
    reply = machine.ctl(command="dominfo", vm="none")
    _check(reply["ok"] is False and reply["error"] == "there is no VM 'none'; try list", reply)
    reply = machine.ctl(command="fly")
    _check(reply["ok"] is False and "unknown command" in reply["error"], reply)
    # Longer than the input ring: refused as a whole, and what follows is in order.
    machine.ctl_bytes(b"x" * 5000 + b"\n")
    for _ in range(20):
        _check(len(machine.ctl(command="help")["result"]) > 10, "help is cut")


def test(node):
    with node.boot(_modules(node, "console=ttyS0 quiet")) as machine:
        machine.expect(r"guest:.*# ")
        _type(machine)
        _requests(machine)
        _console_of_the_guest(machine)
        reply = machine.ctl(command="shutdown")
        _check(reply["ok"], reply)
        node.check_off(machine)

    # A machine without a second serial port.
    with node.boot(_modules(node, "console=ttyS0 quiet"), control_line=False) as machine:
        machine.expect(r"guest:.*# ")
        machine.send(NEXT_TERMINAL)
        machine.expect(r"^margay> ")
        machine.send("shutdown\r")
        machine.expect(r"The node is being turned off")
        node.check_off(machine)
