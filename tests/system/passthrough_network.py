"""Network adapters that Debian's kernels drive themselves. Argument: the case, see CASES."""

import contextlib
import hashlib
import http.server
import random
import threading

import fetch
import initramfs
from passthrough_node import AMD_VI, VTD, ask, boot_guests, linux, swap, until_died

MIB = 64
# The server says nothing of a length: what counts are the sums.
COMMAND = """
set -e
echo '[ "$1" != bound ] || ip addr add $ip/24 dev $interface' | sed '1i#!/bin/sh' >/tmp/script
chmod +x /tmp/script
ip link set eth0 up
udhcpc -i eth0 -n -q -s /tmp/script
echo loaded
wget -q -O - http://10.0.2.2:%d/file | sha256sum | sed 's/^/got /'
grep -E 'virtio|eth0' /proc/interrupts
"""
# All the while the adapter's messages go to one vCPU, then to the other.
DIRECTED = COMMAND.replace("wget", """irqs=$(grep virtio /proc/interrupts | cut -d: -f1)
(
    while :; do
        for mask in 1 2; do
            for irq in $irqs; do echo $mask >/proc/irq/$irq/smp_affinity 2>/dev/null || :; done
            usleep 20000
        done
    done
) &
wget""", 1)


class _Server(http.server.ThreadingHTTPServer):
    """Serves random bytes: so many, or until it is told that it is enough."""

    def __init__(self, mib):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mib = mib
        self.enough = threading.Event()
        self.sent = 0  # bytes
        self.asked = 0
        self.sums = []  # of what was served to the end
        self.finished = threading.Event()

    def handle_error(self, *_):
        """A guest that was reset does not take the rest."""


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked += 1
        self.send_response(200)
        self.end_headers()
        numbers = random.Random(4)
        total = hashlib.sha256()
        piece = 0
        while piece < server.mib if server.mib else not server.enough.is_set():
            content = numbers.randbytes(1 << 20)
            self.wfile.write(content)
            total.update(content)
            server.sent += len(content)
            piece += 1
        server.sums.append(total.hexdigest())
        server.finished.set()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def _server(mib):
    with _Server(mib) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _flows(machine, server):
    before = server.sent
    while server.sent - before < 4 << 20:
        machine.pause(0.05)


def _network(node, extra, address, *disturb, initrd=None, kernel=fetch.DEFAULT_KERNEL, cores=1, asked=1, command=COMMAND,
             **vm):
    """An address by DHCP, and 64 MiB by HTTP; or, with `disturb`, as much as comes until that is over, by one connection.

    What the guest says.
    """
    initrd = initrd or initramfs.with_modules(initramfs.base(), fetch.NETWORK_MODULES)
    with _server(0 if disturb else MIB) as server:
        guest = linux(address, **{"restart_limit": 1_000_000, **vm})
        with boot_guests(node, extra, command % server.server_address[1], guest, initrd=initrd, kernel=kernel, cores=cores) as machine:
            if disturb:
                machine.expect(r"^loaded\r\n")
                # Nothing would be shown of a connection that stands still.
                _flows(machine, server)
            for one in disturb:
                one(machine)
                _flows(machine, server)
            server.enough.set()
            node.check_off(machine)
            output = machine.output.decode(errors="replace")
        # The guest may be off before the server has heard that all was taken.
        server.finished.wait(60)
        assert server.asked == asked, server.asked
        assert any(f"got {one}" in output for one in server.sums), (server.sums, output[-3000:])
    return output


def _dies(machine):
    until_died(machine, 100)


def _reset(machine):
    ask(machine, command="reset", vm="linux")
    machine.expect(r"^loaded\r\n")


NET = ["-netdev", "user,id=net"]
PORT = ["-device", "pcie-root-port,id=below,addr=0x10,chassis=1"]
VIRTIO = "virtio-net-pci,netdev=net,disable-legacy=on,iommu_platform=on"
VIRTIO_ROOT = [*AMD_VI, *NET, "-device", f"{VIRTIO},addr=9"]
VIRTIO_PORT = [*VTD, *PORT, *NET, "-device", f"{VIRTIO},bus=below"]
E1000E_PORT = [*VTD, *PORT, *NET, "-device", "e1000e,netdev=net,bus=below"]


def virtio(node):
    """On the root bus, where nothing resets it."""
    _network(node, VIRTIO_ROOT, "00:09.0", allow_no_reset=True)


def virtio_vtd(node):
    """Behind a port of its own, which resets it."""
    _network(node, VIRTIO_PORT, "01:00.0", cpus=2, cores=2)


def virtio_dies(node):
    """A connection outlives 100 VMMs, and builds with other layouts of the device state that take over from each other."""
    _network(node, VIRTIO_ROOT, "00:09.0", _dies, swap, allow_no_reset=True)


def _taken(machine):
    """By the cores of both vCPUs."""
    def taken():
        return ask(machine, command="nodeinfo")["device_messages"]
    before = taken()
    while any(now - past < 100 for past, now in zip(before, taken())):
        machine.pause(0.05)


def _die_few(machine):
    until_died(machine, 20)


def virtio_directed(node, extra=VIRTIO_ROOT, address="00:09.0", **vm):
    """A connection outlives that its guest has the messages come to one vCPU, then to the other, and VMMs that die meanwhile."""
    _network(node, extra, address, _taken, _die_few, command=DIRECTED, cpus=2, core=0, cores=2, **(vm or {"allow_no_reset": True}))


def virtio_vtd_directed(node):
    virtio_directed(node, VIRTIO_PORT, "01:00.0", standby=True)


def virtio_vtd_dies(node):
    _network(node, VIRTIO_PORT, "01:00.0", _dies, swap, standby=True)


def virtio_vtd_reset(node):
    """In the midst of a connection: the port resets the adapter before the memory is used again, and it works."""
    _network(node, VIRTIO_PORT, "01:00.0", _reset, asked=2)


def _e1000e(node, extra, address, *disturb, **options):
    """Intel's 82574L, by the driver of Debian's general kernel: three messages, for receiving, sending, and the rest."""
    kernel = fetch.GENERAL_KERNEL
    initrd = initramfs.with_modules(initramfs.base(kernel=kernel), fetch.E1000E_MODULES, kernel)
    output = _network(node, extra, address, *disturb, initrd=initrd, kernel=kernel, **options)
    assert all(f"eth0{part}" in output for part in ("-rx-0", "-tx-0")), output[-3000:]


def e1000e(node):
    """On the root bus, where nothing resets it."""
    _e1000e(node, [*AMD_VI, *NET, "-device", "e1000e,netdev=net,addr=9"], "00:09.0", allow_no_reset=True)


def e1000e_vtd(node):
    """Behind a port of its own, which resets it."""
    _e1000e(node, E1000E_PORT, "01:00.0", cpus=2, cores=2)


def e1000e_vtd_reset(node):
    _e1000e(node, E1000E_PORT, "01:00.0", _reset, asked=2)


CASES = [virtio, virtio_vtd, virtio_directed, virtio_vtd_directed, virtio_dies, virtio_vtd_dies, virtio_vtd_reset, e1000e, e1000e_vtd, e1000e_vtd_reset]


def test(node):
    {case.__name__: case for case in CASES}[node.arguments[0]](node)
