"""A kernel that does not make the IOMMU forget: the test of revocation fails. Argument: amd_vi or vtd."""

import harness
from passthrough_node import AMD_VI, EDU, VTD

IOMMUS = {"amd_vi": AMD_VI, "vtd": VTD}


def test(node):
    with node.boot([("init", node.program("test_dma"))], extra=IOMMUS[node.arguments[0]] + EDU) as machine:
        machine.end()
        # What was revoked while a copy was about to begin is overwritten, and is found so twice; nothing else is wrong.
        harness.check_lines(machine.lines(), [r"FAILED .*dma\.cpp:\d+: same$", r" 2 failed"], [])
