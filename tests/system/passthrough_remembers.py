"""A kernel that does not make the IOMMU forget: the test of revocation fails. Argument: amd_vi or vtd."""

import harness
import passthrough

IOMMUS = {"amd_vi": passthrough.AMD_VI, "vtd": passthrough.VTD}


def test(node):
    with node.boot([("init", node.program("test_dma"))], extra=IOMMUS[node.arguments[0]] + passthrough.EDU) as machine:
        machine.end()
        # What was revoked while a copy was about to begin is overwritten, and is found so twice; nothing else is wrong.
        harness.check_lines(machine.lines(), [r"FAILED .*dma\.cpp:\d+: same$", r" 2 failed"], [])
