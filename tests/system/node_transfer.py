"""Files that reach a running node over its control line. Argument: the case."""

import contextlib
import io
import json
import random
import re
import time
import zlib

import common
import ctl
import fetch
import frames
import harness
import initramfs
import qemu
import saved
import transfer

SERVERS = ("init", "pmem", "console", "vmm")
IN_USE = ("memory_used", "memory_extents", "slots", "windows")


def _check(condition, what):
    if not condition:
        raise harness.TestFailure(what)


def _boot(node, *vms, **options):
    defaults = {"memory_mib": 96, "kernel": "kernel", "initrd": "initrd", "append": "console=ttyS0 quiet", "hang_ms": 20000}
    manifest = {"vms": [{**defaults, **vm} for vm in vms], "on_last_vm_off": "stay", "test_exit_port": 244}
    modules = [(name, node.program(name)) for name in SERVERS]
    modules += [("manifest", json.dumps(manifest).encode())]
    if vms:
        modules += [("kernel", fetch.kernel()), ("initrd", initramfs.base())]
    return node.boot(modules, **options)


def _ctl(machine, *words, replaces=False):
    """As ./margay ctl does it: exit status, what it printed as a reply."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), ctl.Client(machine.control_path, 120) as client:
        if transfer.is_transfer(list(words)):
            status = transfer.command(list(words), replaces, True)(client)
        else:
            status = ctl.command(client, ctl.request(words), True)
    return status, json.loads(output.getvalue())


def _good(machine, *words, **options):
    status, reply = _ctl(machine, *words, **options)
    _check(status == 0 and reply["ok"], f"{words}: {reply}")
    return reply["result"]


def _bad(machine, wanted, *words, **options):
    status, reply = _ctl(machine, *words, **options)
    _check(status != 0 and re.search(wanted, reply["error"]), f"{words}: {reply}")


def vmm(node):
    """A VMM sent over the line takes over a guest that works; it stays as long as it is in use."""
    with _boot(node, {"name": "one"}) as machine:
        machine.expect(r"guest:.*# ")
        machine.send("n=0; while n=$((n+1)); do echo count $n; sleep 1; done\n")
        machine.expect(r"count 2")
        before = _good(machine, "nodeinfo")
        result = _good(machine, "module", "put", "other", str(node.program("vmm_next")))
        _check(result["complete"], result)
        _good(machine, "vmm-swap", "one", "other")
        machine.expect(r"count \d+")
        _check(_good(machine, "dominfo", "one")["vmm"] == "other", "it has another VMM")
        _bad(machine, "in use by one", "module", "remove", "other")
        _bad(machine, "other contents", "module", "put", "other", str(node.program("vmm")))
        _bad(machine, "in use by one", "module", "put", "other", str(node.program("vmm")), replaces=True)
        _bad(machine, "other contents", "module", "put", "vmm", str(node.program("vmm_next")))
        _good(machine, "vmm-swap", "one", "vmm")
        _good(machine, "module", "remove", "other")
        after = _good(machine, "nodeinfo")
        _check(all(before[key] == after[key] for key in IN_USE), f"{before} {after}")
        machine.expect(r"count \d+")
        _good(machine, "shutdown")
        node.check_off(machine)


def _boot_small(node, *names, modules=(), processor=None, **more):
    """A node of small guests that count; those that are named are defined and started. more: also their keys."""
    keys = {**{name: {} for name in names}, **more}
    vms = [{"name": name, "memory_mib": 4, "kernel": "kernel", "console": "detached", **own} for name, own in keys.items()]
    manifest = {"vms": vms, "on_last_vm_off": "stay", "test_exit_port": 244}
    files = [(name, node.program(name)) for name in (*SERVERS, *modules)]
    files += [("manifest", json.dumps(manifest).encode())]
    if vms:
        files += [("kernel", node.program("guest_counter"))]
    machine = node.boot(files, cpu=processor)
    while not machine.ctl(command="list")["ok"]:
        pass
    return machine


def _counts(machine, vm, wanted):
    """What a guest has said on its terminal, from when it has counted on so many times; the numbers."""
    with ctl.Client(machine.control_path, 120) as client:
        client.open(f"console {vm}")
        text = b""
        while True:
            kind, _, payload = client.frame()
            if kind == frames.OUTPUT:
                text += payload
            _check(b"changed" not in text, text)
            found = [int(n) for n in re.findall(rb"count (\d+)\s", text)]
            if len(found) >= wanted:
                return found


def _settled(machine, before):
    """What is in use is what it was, when the console has let go of a VM's terminal."""
    while True:
        after = _good(machine, "nodeinfo")
        if all(before[key] == after[key] for key in IN_USE):
            return
        time.sleep(0.05)


def guest(node):
    """Kernel and initrd sent over the line are a guest; when it is gone, so is their memory."""
    initrd = node.directory / "initrd"
    initrd.write_bytes(random.Random(1).randbytes(100_000))
    definition = node.directory / "two.json"
    definition.write_text(json.dumps(
        {"name": "two", "memory_mib": 4, "kernel": "mine", "initrd": "files", "console": "detached"}))
    with _boot_small(node) as machine:

        def come_and_go():
            _good(machine, "module", "put", "mine", str(node.program("guest_counter")))
            _good(machine, "module", "put", "files", str(initrd))
            listed = {each["name"]: each for each in _good(machine, "module", "list")}
            _check(listed["files"]["from"] == "control line" and listed["files"]["received"] == 100_000, listed)
            _good(machine, "define", str(definition))
            _good(machine, "start", "two")
            _counts(machine, "two", 2)
            _bad(machine, "in use by two", "module", "remove", "files")
            _good(machine, "destroy", "two")
            _bad(machine, "in use by two", "module", "remove", "mine")
            _good(machine, "undefine", "two")
            _good(machine, "module", "remove", "mine")
            _good(machine, "module", "remove", "files")
            _bad(machine, "there is no module", "module", "remove", "files")

        # The first time tables grow that are kept.
        come_and_go()
        before = _good(machine, "nodeinfo")
        come_and_go()
        _settled(machine, before)
        _good(machine, "shutdown")
        node.check_off(machine)


def save(node):
    """A VM saved to a file on one node goes on on another, that has not even its kernel."""
    file = node.directory / "one.saved"
    with _boot_small(node, "one") as first:
        _counts(first, "one", 3)
        before = _good(first, "nodeinfo")
        _good(first, "save", "one", str(file))
        _counts(first, "one", 4)  # it has gone on meanwhile
        _settled(first, before)
        _good(first, "restore", "one", str(file))
        counted = []
        while not any(b <= a for a, b in zip(counted, counted[1:])):  # until it has been brought back
            counted = _counts(first, "one", len(counted) + 1)
        _good(first, "destroy", "one")
        _good(first, "shutdown")
        node.check_off(first)
    _check(file.stat().st_size < 1 << 20, "zeros and repeats are left out")
    with _boot_small(node) as second:
        _good(second, "restore", "one", str(file))
        counted = _counts(second, "one", 5)
        _check(counted[0] > 2 and counted == list(range(counted[0], counted[0] + len(counted))), counted)
        _good(second, "restore", "two", str(file))
        _counts(second, "two", 2)
        _counts(second, "one", 2)
        _good(second, "shutdown")
        node.check_off(second)


def cpu(node):
    """What a guest has seen of the processor it needs on another node; what "cpu" requires, on this one."""
    files = {name: node.directory / f"{name}.saved" for name in ("whole", "level")}
    lesser = qemu.DEFAULT_CPU + ",-avx2"
    with _boot_small(node, "whole", level={"cpu": "x86-64-v2"}) as first:
        for name, file in files.items():
            _counts(first, name, 2)
            _good(first, "save", name, str(file))
        _good(first, "destroy", "level")
        _bad(first, "must be", "set", "level", "cpu", "x86-64-v9")
        _good(first, "set", "level", "cpu", "x86-64-v4")
        _bad(first, r"no avx512f \(cpu\)", "start", "level")
        _good(first, "shutdown")
        node.check_status(first, qemu.STATUS_FAILED)  # a VM has failed
    with _boot_small(node, processor=lesser) as second:
        try:
            _ctl(second, "restore", "whole", str(files["whole"]))
        except common.Failure as failure:
            _check("a processor with avx2" in str(failure), str(failure))
        else:
            _check(False, "a guest goes on where it lacks what it has seen")
        _good(second, "restore", "level", str(files["level"]))
        _check(_counts(second, "level", 2)[0] > 1, "it has gone on")
        _good(second, "save", "level", str(node.directory / "again.saved"))
        _good(second, "shutdown")
        node.check_off(second)


def _begin(client, **request):
    _, reply = client.ask(request)
    _check(reply["ok"], reply)
    return reply["result"]["transfer"], reply["result"]["offset"]


def _send_part(machine, request, data, end):
    """Sends data up to `end`, then is gone."""
    with ctl.Client(machine.control_path, 120) as client:
        transfer_number, at = _begin(client, **request)
        _check(at == 0, at)
        while at < end:
            piece = data[at : min(at + transfer.PIECE_BYTES, end)]
            client.send(transfer.piece(1, transfer_number, at, piece))
            at += len(piece)
        # Half of the next one.
        client.send(transfer.piece(1, transfer_number, at, b"x" * 500)[:300])


def _refused(machine, wanted, request, *pieces):
    """Pieces of something announced anew; what the node says to them."""
    with ctl.Client(machine.control_path, 120) as client:
        transfer_number, _ = _begin(client, **request)
        for number, offset, data in pieces:
            client.send(transfer.piece(1, transfer_number if number is None else number, offset, data))
        while True:
            kind, _, payload = client.frame()
            if kind == frames.REFUSED:
                _check(wanted in payload.decode(), payload)
                return


class _Broken(Exception):
    pass


def broken(node):
    """Lines that break in the midst of a transfer: it goes on. And pieces that are none."""
    data = random.Random(2).randbytes(150_000)
    big, file = node.directory / "big", node.directory / "one.saved"
    part = node.directory / "one.saved.part"
    big.write_bytes(data)
    announce = {"command": "module-put", "module": "big", "bytes": str(len(data)), "crc": f"{zlib.crc32(data):x}"}
    with _boot_small(node, "one") as machine:
        _counts(machine, "one", 1)
        _good(machine, "module", "put", "warm", str(big))  # tables grow that are kept
        _good(machine, "module", "remove", "warm")
        before = _good(machine, "nodeinfo")

        _send_part(machine, announce, data, 60_000)
        with ctl.Client(machine.control_path, 120) as client:
            while (at := _begin(client, **announce)[1]) < 60_000:
                pass
            _check(at == 60_000, at)
        _good(machine, "module", "put", "big", str(big))
        _good(machine, "module", "remove", "big")

        _refused(machine, "not found:", announce, (99, 0, b"x"))
        _refused(machine, "state:", announce, (None, 1, b"x"))
        _refused(machine, "usage:", announce, (None, len(data), b"x"))
        _refused(machine, "usage:", announce, (None, 2**64 - 1, b"x"))
        _refused(machine, "failed:", {**announce, "bytes": "3"}, (None, 0, b"xyz"))
        _bad(machine, "there is no module", "module", "remove", "big")
        _refused(machine, "usage:", {"command": "saved-put", "vm": "one", "snapshot": "7"}, (None, 0, b"x" * 500))

        with ctl.Client(machine.control_path, 120) as client:
            number, _ = transfer.begin_saving(client, "one", part)

            def write(piece, file=part.open("ab")):
                if file.tell() > 30_000:
                    file.close()
                    raise _Broken
                file.write(piece)

            try:
                transfer.receive(client, 1, number, write, transfer.Progress("one", None, quiet=True))
            except _Broken:
                pass
        snapshot, begun = saved.File(part).snapshot, part.read_bytes()
        _counts(machine, "one", 3)
        _good(machine, "save", "one", str(file))
        whole = saved.File(file)
        whole.check()
        _check(whole.snapshot == snapshot and not part.exists(), "it went on with the same state")
        _check(file.read_bytes().startswith(begun[: saved.HEAD.size + 48]), "and with the same file")

        announce = {"command": "saved-put", "vm": "one", "snapshot": str(snapshot)}
        _send_part(machine, announce, file.read_bytes(), file.stat().st_size // 2)
        with ctl.Client(machine.control_path, 120) as client:
            while not _begin(client, **announce)[1]:
                pass
        _good(machine, "restore", "one", str(file))
        _counts(machine, "one", 3)
        _good(machine, "saved-drop", "one")
        _settled(machine, before)
        _good(machine, "shutdown")
        node.check_off(machine)


def test(node):
    globals()[node.arguments[0]](node)
