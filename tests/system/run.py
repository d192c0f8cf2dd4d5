"""./margay run as a user meets it: what it prints, and its exit status.

Argument: a case below. The boots go through tools/cli.py, with what this build has made.
"""

import os
import pathlib
import subprocess
import sys

import harness
import initramfs
import qemu

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _run(node, *arguments, command="run"):
    """Runs margay; (status, standard output, standard error)."""
    line = [sys.executable, "-B", str(ROOT / "tools" / "cli.py"), command]
    line += ["--preset", node.build.name] if command != "ctl" else []
    line += arguments
    if command == "run":
        line += ["--no-build", "--ctl", str(node.directory / "ctl"), "--headless"]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=node.options.timeout,
        env=dict(os.environ, MARGAY_BUILD=str(node.build.parent)))
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def _check(holds, what, *seen):
    if not holds:
        raise harness.TestFailure("\n".join([what, *map(str, seen)]))


def _check_end(node, arguments, status, reason):
    """The status, and the reason: the last line of standard error, which comes once; None: there is none."""
    found, output, errors = _run(node, *arguments)
    _check(found == status, f"status {found}, not {status}", output[-3000:], errors)
    said = [line for line in errors.splitlines() if line]
    _check("Traceback" not in errors, "a traceback", errors)
    if reason is None:
        _check(not said, "standard error is not empty", errors)
    else:
        _check(len(said) == 1 and reason in said[0], f"the reason is not just '{reason}'", errors)
    return output


def exec_status(node):
    output = _check_end(node, ["--append", "quiet", "--exec", "echo out; exit 3"], 3, None)
    _check("out" in output.split(), "its output is missing", output)


def power_off(node):
    # A manifest, modules and a VMM of the user's, and a command that does not return.
    manifest = node.directory / "node.json"
    manifest.write_text('{ "vms": [\n{ "name": "a", "kernel": "kernel", "initrd": "initrd", "vmm": "mine",'
        ' "append": "console=ttyS0 quiet" } ] }\n')
    initrd = node.directory / "initrd"
    initrd.write_bytes(initramfs.with_command(initramfs.base(), "cat /proc/cmdline; poweroff -f"))
    _check_end(node, ["--manifest", str(manifest), "--module", f"initrd={initrd}", "--module",
        f"mine={node.program('vmm')}"], 0, None)


def halt(node):
    _check_end(node, ["--append", "quiet", "--exec", "halt -f"], 3, "halted with interrupts off")


def panic(node):
    _check_end(node, ["--append", "quiet", "--exec", "echo c > /proc/sysrq-trigger"], 1, "it reset itself")


def own_vmm(node):
    # Under a name of its own, with the one that was built as its fallback.
    output = _check_end(node, ["--append", "quiet", "--exec", "echo alive", "--vmm", f"mine={node.program('vmm')}"],
        0, None)
    _check("alive" in output.split(), "the guest did not run", output)


def long_command_line(node):
    # All 2047 bytes of it arrive; the last word is looked for.
    word = "last=" + "z" * 20
    filler = "x" * (2047 - len("console=ttyS0 panic=-1 quiet  ") - len(word))
    output = _check_end(node, ["--append", f"quiet {filler} {word}", "--exec", "tail -c 30 /proc/cmdline"], 0, None)
    _check(word in output, "the end of the command line is missing", output[-500:])


def no_queries(node):
    # A shell without a terminal behind it asks for no cursor position.
    found, output, errors = _run(node, "--append", "quiet", "--timeout", "30")
    _check(found == 124, f"status {found}, not 124", output[-2000:], errors)
    _check("guest:" in output, "no prompt", output[-2000:])
    _check("\x1b[6n" not in output, "the cursor's position is asked for", repr(output[-300:]))
    _check(errors.splitlines() == ["margay: time limit of 30 s reached"], "standard error", errors)


def made_image(node):
    # An image of one's own names no exit port: the node is turned off by ACPI, and says nothing about it.
    manifest, output = node.directory / "node.json", node.directory / "node.iso"
    manifest.write_text('{ "vms": [ { "name": "a", "kernel": "kernel", "initrd": "off" } ] }\n')
    initrd = node.directory / "off"
    initrd.write_bytes(initramfs.with_command(initramfs.base(), "echo b\"y\"e"))
    status, said, errors = _run(node, str(output), "--no-build", "--manifest", str(manifest), "--module", f"off={initrd}",
        command="image")
    _check(status == 0 and output.exists(), f"status {status}", said, errors)
    with qemu.Captured(qemu.command(output, 640), node.options.timeout) as machine:
        status = machine.wait()
        _check(status == 0, f"QEMU's status {status}", *machine.lines()[-20:])
        _check(any("guest a powered off" in line for line in machine.lines()), "no power-off", *machine.lines()[-20:])
        _check(not any("cannot be turned off" in line for line in machine.lines()), "said too early")


def large(node):
    found = _check_end(node, ["--append", "quiet", "--memory", "3072", "--exec", "grep MemTotal /proc/meminfo"], 0, None)
    total = [int(line.split()[1]) for line in found.splitlines() if line.startswith("MemTotal")]
    _check(total and total[0] > 2900 << 10, "the guest has not so much memory", found[-500:])


def save(node):
    # The default node has room to save its guest, as the manual's first steps do.
    line = [sys.executable, "-B", str(ROOT / "tools" / "cli.py"), "run", "--preset", node.build.name, "--no-build", "--ctl",
            str(node.directory / "ctl"), "--headless", "--append", "quiet", "--exec", "echo up; sleep 1000"]
    started = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        env=dict(os.environ, MARGAY_BUILD=str(node.build.parent)))
    with started:
        while (said := started.stdout.readline()) and said.strip() != b"up":
            pass
        for words in (["save", "linux"], ["restore", "linux"], ["shutdown", "--now"]):
            status, output, errors = _run(node, "--socket", str(node.directory / "ctl"), *words, command="ctl")
            _check(status == 0, f"{words}: status {status}", output, errors)
        started.stdout.read()
    # The guest did not end by itself.
    _check(started.returncode in (0, 1), f"run ended with status {started.returncode}")


def test(node):
    {"exec": exec_status, "power_off": power_off, "halt": halt, "panic": panic, "own_vmm": own_vmm,
     "long_command_line": long_command_line, "no_queries": no_queries, "large": large, "save": save, "image": made_image}[node.arguments[0]](node)
