#!/usr/bin/python3
"""Makes the default guest's initial RAM disk: busybox, an init script, and what hears the power button.

    initramfs.py [--exec COMMAND] OUTPUT

Equal inputs give equal bits. A command to run is one more archive behind the first (the kernel
unpacks both), as the file /etc/margay-exec: so it needs no quoting anywhere.
"""

import argparse
import pathlib
import stat
import sys

import common
import fetch

DIRECTORY = stat.S_IFDIR | 0o755
PROGRAM = stat.S_IFREG | 0o755
FILE = stat.S_IFREG | 0o644
CONSOLE = stat.S_IFCHR | 0o600
ALIGNMENT = 4

INIT = """\
#!/bin/busybox sh
# The default guest's init: a shell on the console, or one command; then the guest powers off.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s
export PATH=/sbin:/bin:/usr/sbin:/usr/bin HOME=/root TERM=vt100 PS1='guest:\\w# '
# The power button: its only event is that it was pressed. The modules are those of Debian's kernels.
modules=/lib/modules/$(uname -r)
if [ -e $modules/button.ko ] && insmod $modules/button.ko && insmod $modules/evdev.ko; then
    for input in /sys/class/input/event*; do
        [ "$(cat $input/device/name)" = "Power Button" ] || continue
        (
            dd if=/dev/input/${input##*/} of=/dev/null bs=24 count=1 2>/dev/null || exit
            echo "Margay guest: the power button was pressed"
            sync
            poweroff -f
        ) &
    done
fi
if [ -e /etc/margay-modules ]; then
    while read module; do insmod $modules/$module; done </etc/margay-modules
fi
cd /root
echo "Margay guest: Linux $(uname -r), $(nproc) CPU, $(sed -n 's/^MemTotal: *//p' /proc/meminfo)"
if [ -e /etc/margay-exec ]; then
    sh /etc/margay-exec </dev/null
    # The host looks for this line: tools/machine.py, COMMAND_STATUS.
    echo "Margay guest: the command ended with status $?"
else
    echo "Leaving this shell powers the guest off."
    # A serial line cannot say how large its terminal is; a shell that does not know asks it at each prompt.
    stty $(cat /etc/margay-size 2>/dev/null || echo rows 24 cols 80)
    # In a session of its own and on the real terminal, not /dev/console: that gives job control.
    setsid cttyhack sh
fi
# The console may hold characters that power-off would lose.
sync
poweroff -f
"""


class Archive:
    """A cpio archive in the format "newc" (Linux, Documentation/driver-api/early-userspace)."""

    def __init__(self):
        self.data = bytearray()
        self.inode = 0

    def add(self, name, mode, content=b"", device=(0, 0)):
        self.inode += 1
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = [self.inode, mode, 0, 0, links, common.EPOCH, len(content), 0, 0, *device]
        fields += [len(name) + 1, 0]
        self.data += b"070701" + b"".join(b"%08x" % field for field in fields)
        self.data += name.encode() + b"\0"
        self._align()
        self.data += content
        self._align()

    def add_files(self, files):
        """Executable files, {path: content}, and the directories that they are in."""
        made = set()
        for name, content in files.items():
            for parent in reversed(pathlib.PurePosixPath(name).parents[:-1]):
                if parent not in made:
                    self.add(str(parent), DIRECTORY)
                    made.add(parent)
            self.add(name, PROGRAM, content)

    def finish(self):
        self.add("TRAILER!!!", 0)
        return bytes(self.data)

    def _align(self):
        self.data += bytes(-len(self.data) % ALIGNMENT)


def base(init=INIT.encode(), programs=(), kernel=fetch.DEFAULT_KERNEL):
    """The initramfs with the given /init. programs: [(path in the guest, content)]. kernel: Debian's package of the
    kernel whose modules it has; None: it has none."""
    archive = Archive()
    for name in ("bin", "dev", "etc", "lib", "proc", "root", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/sbin"):
        archive.add(name, DIRECTORY)
    if kernel:
        version, modules = fetch.kernel_modules(kernel)
        for name in ("lib/modules", f"lib/modules/{version}"):
            archive.add(name, DIRECTORY)
        for module in modules:
            archive.add(f"lib/modules/{version}/{module.name}", FILE, module.read_bytes())
    archive.add("dev/console", CONSOLE, device=(5, 1))
    archive.add("bin/busybox", PROGRAM, fetch.busybox().read_bytes())
    archive.add("init", PROGRAM, init)
    for path, content in programs:
        archive.add(path, PROGRAM, content)
    return archive.finish()


def minimal(init):
    """An initramfs with nothing but the program /init, for measurements."""
    archive = Archive()
    archive.add("dev", DIRECTORY)
    archive.add("dev/console", CONSOLE, device=(5, 1))
    archive.add("init", PROGRAM, init)
    return archive.finish()


def with_command(initrd, command):
    """The initrd with a command that its init runs instead of the shell."""
    archive = Archive()
    archive.add("etc", DIRECTORY)
    archive.add("etc/margay-exec", FILE, command.encode() + b"\n")
    return initrd + bytes(-len(initrd) % ALIGNMENT) + archive.finish()


def with_modules(initrd, names, kernel=fetch.DEFAULT_KERNEL):
    """The initrd with more of its kernel's modules, which its init loads, in this order."""
    version, modules = fetch.kernel_modules(kernel, names)
    archive = Archive()
    for module in modules:
        archive.add(f"lib/modules/{version}/{module.name}", FILE, module.read_bytes())
    archive.add("etc", DIRECTORY)
    archive.add("etc/margay-modules", FILE, "".join(f"{module.name}\n" for module in modules).encode())
    return initrd + bytes(-len(initrd) % ALIGNMENT) + archive.finish()


def with_files(initrd, files):
    """The initrd with more executable files, {path: content}."""
    archive = Archive()
    archive.add_files(files)
    return initrd + bytes(-len(initrd) % ALIGNMENT) + archive.finish()


def with_size(initrd, rows, columns):
    """The initrd with the size of the terminal that its shell is shown in."""
    archive = Archive()
    archive.add("etc", DIRECTORY)
    archive.add("etc/margay-size", FILE, f"rows {rows} cols {columns}\n".encode())
    return initrd + bytes(-len(initrd) % ALIGNMENT) + archive.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--exec", metavar="COMMAND", dest="command")
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()
    try:
        made = base()
    except common.Failure as failure:
        print(f"initramfs.py: {failure}", file=sys.stderr)
        return 1
    options.output.write_bytes(with_command(made, options.command) if options.command else made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
