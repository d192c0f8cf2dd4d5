"""Which targets the tests with certain names need, so that nothing else is built for them.

Names of host tests are known to ctest only when they are built; they are read from the sources here. What this
takes too many for costs time; that it takes too few for, ctest reports as a test that could not be found.
"""

import json
import pathlib
import re
import subprocess

import common

# The programs that scripts boot by way of a tuple.
SERVERS = ("ukernel", "init", "pmem", "console", "pci", "vmm")
# Guests of the tests; scripts name them as modules.
GUEST = "guest_"
# Targets of the preset fuzz.
FUZZ = "fuzz_"
CASE = re.compile(r"^\s*TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
TYPED_CASE = re.compile(r"^\s*TYPED_TEST(?:_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
INSTANCE = re.compile(r"INSTANTIATE_T\w+\(\s*(\w+)\s*,\s*(\w+)")


class _Build:
    """What a configured build says of itself."""

    def __init__(self, tree):
        self.tree = pathlib.Path(tree).absolute()
        self.all = set()
        self.images = set()  # what scripts may boot
        self.units = {}  # target: its test sources
        for entry in json.loads((tree / "compile_commands.json").read_text()):
            made = re.search(r" -o \S*CMakeFiles/(\w+)(\.objects)?\.dir/", entry["command"])
            if not made:
                continue
            self.all.add(made[1])
            if made[2] or made[1].startswith(GUEST):
                self.images.add(made[1])
            elif made[1].startswith("unit_"):
                self.units.setdefault(made[1], []).append(pathlib.Path(entry["file"]))

    def tests(self, pattern):
        """ctest's own list of what matches."""
        line = ["ctest", "--test-dir", str(self.tree), "--show-only=json-v1", "-R", pattern]
        done = subprocess.run(line, capture_output=True, text=True)
        try:
            return json.loads(done.stdout)["tests"]
        except ValueError:
            raise common.Usage(f"test '{pattern}': not a regular expression") from None


def _unit_names(target, sources):
    """Names that ctest may come to know of a target's tests, those of parameterised ones up to the parameter."""
    suite = target.removeprefix("unit_")
    for source in sources:
        try:
            text = source.read_text()
        except OSError:
            continue
        instances = INSTANCE.findall(text)
        for fixture, case in CASE.findall(text):
            yield f"unit.{suite}.{fixture}.{case}"
            for instance, of in instances:
                if of != fixture:
                    continue
                yield f"unit.{suite}.{instance}/{fixture}.{case}/"
                for word in set(re.findall(r"\w+", text)):
                    yield f"unit.{suite}.{instance}/{fixture}.{case}/{word}"
        for fixture, case in TYPED_CASE.findall(text):
            yield f"unit.{suite}.{fixture}/0.{case}"


def _words_of_script(path, seen=None):
    """The words of a test's script and of the scripts beside it that it imports."""
    seen = set() if seen is None else seen
    if path in seen or not path.exists():
        return set()
    seen.add(path)
    text = path.read_text()
    words = set(re.findall(r"\w+", text))
    for name in re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE):
        words |= _words_of_script(path.parent / f"{name}.py", seen)
    return words


def _of_test(build, test):
    """The targets of one of ctest's tests."""
    # ctest leaves out a command whose program is not built: such are unit tests, of which it knows no more, and
    # fuzz targets.
    words = test.get("command", [])
    if test["name"].startswith("fuzz."):
        yield test["name"].replace(".", "_", 1)
    files = list(words)
    for entry in test.get("properties", []):
        if entry["name"] == "REQUIRED_FILES":
            files += entry["value"] if isinstance(entry["value"], list) else [entry["value"]]
    for word in files:
        path = pathlib.Path(word.rpartition("=")[2])
        if build.tree in path.parents and test["name"].startswith(("system.", "tools.", "unit.")):
            yield path.name.removesuffix(".elf")
    if "--script" in words:
        script = pathlib.Path(words[words.index("--script") + 1])
        yield from build.images & (_words_of_script(script) | set(words) | set(SERVERS))


def targets(tree, pattern):
    """The targets that the tests whose names match need; empty if there are no such tests.

    Those that begin with FUZZ are of the preset fuzz.
    """
    build = _Build(tree)
    needed = set()
    for test in build.tests(pattern):
        if test["name"].endswith("_NOT_BUILT"):
            needed.add(test["name"].removesuffix("_NOT_BUILT"))
        else:
            needed.update(_of_test(build, test))
    wanted = None
    try:
        wanted = re.compile(pattern)
    except re.error:  # ctest's expressions are others
        needed |= set(build.units)
    for unit, sources in build.units.items() if wanted else ():
        if any(wanted.search(name) for name in _unit_names(unit, sources)):
            needed.add(unit)
    return {target for target in needed if target in build.all or target.startswith(FUZZ)}


def are_there(tree, pattern):
    """Whether ctest knows a test that matches: one that needs nothing is no target's."""
    return bool(_Build(tree).tests(pattern))
