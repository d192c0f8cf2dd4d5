"""What the tools share: where things are, and how they speak to the user."""

import os
import pathlib
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Files that are made carry this time, so that making them twice gives the same bits.
EPOCH = 1_700_000_000

# Without a terminal, how often a long step says that it goes on.
PROGRESS_SECONDS = 10


class Failure(Exception):
    """Something the user is told in one line; ends the command with exit status 1."""


class Usage(Failure):
    """A bad argument; exit status 2."""


def build_root():
    """The directory with the builds, one per preset: $MARGAY_BUILD, or build/ in the tree."""
    named = os.environ.get("MARGAY_BUILD")
    return pathlib.Path(named).absolute() if named else ROOT / "build"


def cache():
    """The directory for what is fetched: Debian's kernels, the Zydis sources."""
    named = os.environ.get("MARGAY_CACHE")
    if named:
        return pathlib.Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    if not base:
        try:
            base = pathlib.Path.home() / ".cache"
        except RuntimeError:
            raise Failure("no home directory for what is fetched: set MARGAY_CACHE to a directory") from None
    return pathlib.Path(base) / "margay"


def writable_directory(path, remedy):
    """Makes a directory unless it is there; a Failure with the remedy if nothing can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if os.access(path, os.W_OK | os.X_OK):
            return path
        why = "cannot be written"
    except OSError as error:
        why = error.strerror
    raise Failure(f"{path}: {why}; {remedy}")


def cache_directory():
    return writable_directory(cache(), "set MARGAY_CACHE to a directory for what is fetched")


def build_directory():
    return writable_directory(build_root(), "say --build-dir DIRECTORY, or set MARGAY_BUILD")


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


class Step:
    """A step that takes time, None for one that is not shown: on a terminal a line that changes, elsewhere
    one every ten seconds.

    What it does is said when it takes longer than a moment, so that nothing is said where nothing is to be done.
    """

    MOMENT_SECONDS = 1.0

    def __init__(self, what):
        self._what = what
        self._detail = ""
        self._on_terminal = sys.stderr.isatty()
        self._begun = time.monotonic()
        self._said = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self):
        if self._what is not None:
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        if self._what is not None:
            self._thread.join()
        if self._said is not None and self._on_terminal:
            print(f"\r{'':78}\r", end="", file=sys.stderr, flush=True)

    def at(self, detail):
        """How far it is."""
        self._detail = detail

    def _repeat(self):
        while not self._end.wait(0.2 if self._on_terminal else 0.5):
            now = time.monotonic()
            if now - self._begun < self.MOMENT_SECONDS:
                continue
            if self._on_terminal:
                text = f"margay: {self._what} {self._detail}"[:78]
                print(f"\r{text:78}", end="", file=sys.stderr, flush=True)
            elif self._said is None or now - self._said >= PROGRESS_SECONDS:
                progress(f"{self._what} {self._detail}".rstrip())
            else:
                continue
            self._said = now
