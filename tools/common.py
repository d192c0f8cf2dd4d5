"""What the tools share: where things are, and how they speak to the user."""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Files that are made carry this time, so that making them twice gives the same bits.
EPOCH = 1_700_000_000

# How long no single step takes; what exceeds it hangs.
PATIENCE_SECONDS = 600


class Failure(Exception):
    """Something the user is told in one line; ends the command with exit status 1."""


class Usage(Failure):
    """A bad argument; exit status 2."""


def cache():
    """The directory for what is fetched: Debian's kernels, the Zydis sources."""
    if "MARGAY_CACHE" in os.environ:
        return pathlib.Path(os.environ["MARGAY_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "margay"


def progress(text):
    """One line about a step that takes time. Standard output stays the node's console."""
    print(f"margay: {text}", file=sys.stderr, flush=True)


def readable_file(path, what):
    """The path of an input file, or a Usage error that says what is wrong with it."""
    path = pathlib.Path(path)
    if not path.exists():
        raise Usage(f"{what} {path}: no such file")
    if not path.is_file():
        raise Usage(f"{what} {path}: not a file")
    if not os.access(path, os.R_OK):
        raise Usage(f"{what} {path}: cannot be read")
    if path.stat().st_size == 0:
        raise Usage(f"{what} {path}: is empty")
    return path
