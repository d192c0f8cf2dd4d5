"""Devices that only reach what was granted. Argument: the case, see CASES."""

import harness

# On the root bus, where the model tells its requester by its true number.
IOMMU = ["-device", "amd-iommu,intremap=on"]
EDU = ["-device", "edu,addr=4,dma_mask=0xffffffffffffffff"]


def kernel(node):
    """The kernel's Devices and DMA spaces, driven by a program in init's place."""
    with node.boot([("init", node.program("test_dma"))], extra=IOMMU + EDU) as machine:
        node.check_off(machine)
        harness.check_lines(machine.lines(), [r"1 IOMMU \(AMD-Vi\)", r" 0 failed"], ["FAILED"])


CASES = [kernel]


def test(node):
    {case.__name__: case for case in CASES}[node.arguments[0]](node)
