#!/usr/bin/python3
"""Records the README's picture: a guest's shell that lives through replacements of its VMM.

    record.py [--build DIRECTORY] [OUTPUT.svg]

It boots the real node, types into the guest's shell and gives commands to the node, and draws what both answered, each
line at the time at which it came. Where a viewer does not animate, the picture shows the end.
"""

import argparse
import html
import pathlib
import sys
import tempfile
import time

import build
import common
import ctl
import fetch
import image
import initramfs
import node_image
import qemu

OUTPUT = common.ROOT / "docs" / "vmm-restart.svg"
COLUMNS = 100
LINE_HEIGHT, CHARACTER_WIDTH, MARGIN = 17, 7.8, 12
PROMPT = r"guest:.*# "
LOOP = "while sleep 1; do echo still here: $((n=n+1)), up $(cut -f1 -d. /proc/uptime) s; done"
TITLES = ("the guest: a shell on ttyS0", "the host: another terminal")


class Recording:
    """Lines with the pane in which they appear and when, in seconds."""

    def __init__(self):
        self.begun = time.monotonic()
        self.lines = []

    def say(self, pane, text):
        for line in text.splitlines():
            self.lines.append((pane, time.monotonic() - self.begun, line[:COLUMNS]))


def _record(machine):
    """Works in the guest and on the node; a Recording."""
    machine.expect(PROMPT)
    recording = Recording()
    recording.say(0, "guest:/root# uname -r")
    machine.send("uname -r\n")
    recording.say(0, machine.expect(r"^(6\S+)\r\n")[1].decode())
    machine.expect(PROMPT)
    recording.say(0, f"guest:/root# {LOOP}")
    machine.send(LOOP + "\n")

    def ticks(count):
        for _ in range(count):
            recording.say(0, machine.expect(r"^(still here: .*)\r\n")[1].decode())

    def command(*words):
        recording.say(1, "$ ./margay ctl " + " ".join(words))
        reply = machine.ctl(**ctl.request(list(words)))
        if not reply["ok"]:
            raise common.Failure(f"{' '.join(words)}: {reply['error']}")
        recording.say(1, ctl.readable(reply["result"]))

    ticks(2)
    command("vmm-restart", "linux")
    ticks(2)
    command("vmm-swap", "linux", "mine")
    ticks(2)
    command("list")
    ticks(1)
    machine.send("\x03")
    machine.expect(PROMPT)
    recording.say(0, "^C")
    recording.say(0, "guest:/root# echo the same shell, and nothing was lost")
    machine.send("echo the same shell, and nothing was lost\n")
    recording.say(0, machine.expect(r"^(the same shell.*)\r\n")[1].decode())
    machine.expect(PROMPT)
    recording.say(0, "guest:/root# ")
    machine.send("exit\n")
    return recording


def draw(recording):
    """The recording as an SVG picture."""
    rows = [sum(1 for pane, _, _ in recording.lines if pane == p) for p in (0, 1)]
    width = round(COLUMNS * CHARACTER_WIDTH + 2 * MARGIN)
    heights = [MARGIN + (rows[p] + 1) * LINE_HEIGHT + MARGIN for p in (0, 1)]
    height = sum(heights) + MARGIN
    text = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        "<!-- made by tools/record.py from a run of the node -->",
        "<style>@keyframes later{from,to{visibility:hidden}}"
        "text{font:13px monospace;fill:#d8dee9;white-space:pre}.t{fill:#88c0d0}.i{fill:#a3be8c}</style>",
        f'<rect width="{width}" height="{height}" fill="#11151c"/>',
    ]
    top = 0
    for pane in (0, 1):
        text.append(f'<rect x="4" y="{top + 6}" width="{width - 8}" height="{heights[pane] - 2}" rx="6" fill="#1b212c"/>')
        y = top + MARGIN + LINE_HEIGHT
        text.append(f'<text class="t" x="{MARGIN}" y="{y}">{TITLES[pane]}</text>')
        for where, when, line in recording.lines:
            if where != pane:
                continue
            y += LINE_HEIGHT
            typed = ' class="i"' if line.startswith(("$ ", "guest:")) else ""
            text.append(f'<text{typed} x="{MARGIN}" y="{y}" xml:space="preserve"'
                f' style="animation:later {when + 0.5:.1f}s">{html.escape(line)}</text>')
        top += heights[pane]
    return "\n".join([*text, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=build.directory("release"), metavar="DIRECTORY")
    parser.add_argument("output", nargs="?", type=pathlib.Path, default=OUTPUT, metavar="OUTPUT.svg")
    options = parser.parse_args()
    programs = options.build / "modules"
    manifest = image.manifest(append=node_image.command_line("quiet"))
    modules = [(name, programs / name) for name in node_image.SERVERS]
    modules += [("manifest", manifest), ("kernel", fetch.kernel()), ("initrd", initramfs.base())]
    modules += [("mine", programs / "vmm")]
    with tempfile.TemporaryDirectory(prefix="margay-") as directory:
        iso = pathlib.Path(directory, "node.iso")
        try:
            image.make(iso, programs / node_image.KERNEL, modules)
            with qemu.Captured(qemu.command(iso, 600), 300) as machine:
                recording = _record(machine)
                machine.wait()
        except (common.Failure, TimeoutError, EOFError) as failure:
            print(f"record.py: {failure}", file=sys.stderr)
            return 1
    options.output.write_text(draw(recording))
    return 0


if __name__ == "__main__":
    sys.exit(main())
