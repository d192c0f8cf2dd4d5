"""The order of the kernel's rooms: no include runs upward.

The order stands at the top of ukernel/CMakeLists.txt, as lines of a comment that begin with `#   NUMBER`, lowest
first, each with folders (and what is below them) or single files of ukernel/. The longest name that fits a file says
where it stands. An include of ukernel/… may lead to the same number or a lower one.
"""

import re

import common

ORDER = re.compile(r"^#   ([0-9]+)\s+(.*)$")
INCLUDE = re.compile(r'^\s*#\s*include\s+"ukernel/([^"]+)"', re.MULTILINE)
SOURCES = (".cpp", ".hpp", ".S")


def _order(kernel):
    ranks = {}
    for line in (kernel / "CMakeLists.txt").read_text().splitlines():
        if not line.startswith("#"):
            break
        if matched := ORDER.match(line):
            for name in matched[2].split():
                ranks[name.rstrip("/")] = int(matched[1])
    return ranks


def _rank(ranks, name):
    fits = [room for room in ranks if name == room or name.startswith(room + "/")]
    return ranks[max(fits, key=len)] if fits else None


def check(root=common.ROOT):
    """The includes that run upward, and the files that have no room, as lines of text."""
    kernel = root / "ukernel"
    ranks = _order(kernel)
    problems = []
    for path in sorted(kernel.rglob("*")):
        if path.suffix not in SOURCES:
            continue
        name = str(path.relative_to(kernel))
        rank = _rank(ranks, name)
        if rank is None:
            problems.append(f"ukernel/{name}: has no room in ukernel/CMakeLists.txt")
            continue
        for included in INCLUDE.findall(path.read_text()):
            below = _rank(ranks, included)
            if below is not None and below > rank:
                problems.append(f"ukernel/{name}: includes ukernel/{included}, which is above it")
    return problems
