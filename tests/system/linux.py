"""A Debian kernel as the guest of a whole node: boots to its shell, runs commands, powers off.

Arguments: the kernel's Debian package; "exec" to pass a command in the initramfs instead of typing.
"""

import fetch
import image
import initramfs

SERVERS = ("init", "pmem", "console", "vmm")


def test(node):
    package, *rest = node.arguments
    initrd = initramfs.base(kernel=package)
    if "exec" in rest:
        # Quotes of both kinds must arrive as they are.
        initrd = initramfs.with_command(initrd, "echo \"it's $((6 * 7))\"; cat /proc/cmdline")
    manifest = image.manifest(
        memory_mib=256,
        append="console=ttyS0 quiet margay-test",
        core=1 if node.options.cores > 1 else 0,
    )
    modules = [(name, node.program(name)) for name in SERVERS]
    modules += [("manifest", manifest), ("kernel", fetch.kernel(package)), ("initrd", initrd)]

    with node.boot(modules) as machine:
        machine.expect(r"Margay guest: Linux \d")
        if "exec" in rest:
            machine.expect(r"^it's 42\r?$")
            machine.expect(r"margay-test\r?$")
        else:
            machine.expect(r"guest:.*# ")
            machine.send("echo sum $((40 + 2))\n")
            machine.expect(r"^sum 42\r?$")
            # Job control: an interrupt ends the foreground command and not the shell.
            # It says when it runs: what is typed before belongs to the shell's line editor.
            machine.send("sh -c 'echo begun; exec sleep 1000'\n")
            machine.expect(r"^begun\r?$")
            machine.send("\x03")
            machine.expect(r"guest:.*# ")
            machine.send("exit\n")
        node.check_off(machine)
