"""Layout by clang-format and checks by clang-tidy."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import build
import common
import layers

SOURCES = (".cpp", ".hpp")
# What clang-tidy looks at when nothing changed: where a mistake costs most.
KEY_FILES = re.compile(r"^(ukernel/(ipc|object|memory|exit|syscall)/|servers/vmm/(emulator|loader)/)")
# Bounds the time that a check of everything takes; a file needs about five seconds.
LINT_SECONDS = 90
# Flags of g++ that clang does not know, and its precompiled headers.
GCC_ONLY = re.compile(r" -(flto\S*|fno-lto|fno-tree-loop-distribute-patterns|frandom-seed=\S+|mindirect-branch\S*|Winvalid-pch"
    r"|include \S*/cmake_pch\.hxx)(?= )")
# What a file of sources that are compiled together consists of.
INCLUDED = re.compile(r'^#include "(\S+)"$', re.MULTILINE)
# What clang knows but cannot read the standard headers with: see cmake/flags.cmake.
REPLACED = {" -mgeneral-regs-only ": " -mno-mmx -mno-sse ", " -Werror ": " "}


def _git(*arguments):
    """The lines that git prints; None without git or outside a checkout."""
    if not shutil.which("git"):
        return None
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", *arguments], cwd=common.ROOT, capture_output=True, text=True
    )
    return done.stdout.splitlines() if done.returncode == 0 else None


def sources():
    """All C++ files of ours: what git tracks or would track."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard")
    if listed is None:
        # An unpacked archive is no git checkout.
        found = (p.relative_to(common.ROOT) for p in common.ROOT.rglob("*") if p.suffix in SOURCES)
        listed = [str(path) for path in found if path.parts[0] != "build"]
    existing = (name for name in listed if (common.ROOT / name).is_file())
    return sorted({name for name in existing if name.endswith(SOURCES)})


def format_sources(check):
    files = sources()
    if not files:
        return 0
    line = ["clang-format-14", "--style=file", *(["--dry-run", "--Werror"] if check else ["-i"])]
    status = subprocess.run([*line, *files], cwd=common.ROOT).returncode
    if check:
        common.progress(f"layout of {len(files)} files: {'differs; ./margay format' if status else 'fine'}")
    return 1 if status else 0


def _to_lint(compiled):
    """Changed sources and the key files, changed ones first."""
    changed = set()
    # In a commit's own check nothing is uncommitted: then it is what the commit changed.
    for arguments in (("diff", "--name-only", "HEAD"), ("diff", "--name-only", "HEAD~1", "HEAD")):
        changed = set(_git(*arguments) or ()) & set(compiled)
        if changed:
            break
    key = {name for name in compiled if KEY_FILES.match(name)}
    return sorted(changed) + sorted(key - changed)


def _each_by_itself(entries):
    """Compile commands, those of sources that are compiled together (cmake/target_code.cmake) for each of them."""
    found = []
    for entry in entries:
        file = pathlib.Path(entry["file"])
        if file.parent.name != "together":
            found.append(entry)
            continue
        for source in INCLUDED.findall(file.read_text()):
            found.append(dict(entry, file=source, command=entry["command"].replace(str(file), source)))
    return found


def lint(files):
    """The order of the kernel's rooms, and clang-tidy within a bounded time; 1 when they found something."""
    upward = layers.check()
    for problem in upward:
        print(problem, flush=True)
    common.progress(f"order of the kernel's rooms: {len(upward) or 'no'} includes run upward")
    tree = build.directory("release")
    # Without them what includes them cannot be read.
    if build.build("release", ("generated_headers",), quiet=True) != 0:
        raise common.Failure("cannot generate what sources include")
    # Reading flags from a copy: clang does not take all those of the compiler in use.
    flags = tree / "lint"
    flags.mkdir(exist_ok=True)
    entries = _each_by_itself(json.loads((tree / "compile_commands.json").read_text()))
    for entry in entries:
        for flag, replacement in REPLACED.items():
            entry["command"] = entry["command"].replace(flag, replacement)
        entry["command"] = GCC_ONLY.sub("", entry["command"])
    (flags / "compile_commands.json").write_text(json.dumps(entries))

    compiled = set()
    for entry in entries:
        path = pathlib.Path(entry["file"])
        if path.suffix == ".cpp" and path.is_relative_to(common.ROOT):
            compiled.add(str(path.relative_to(common.ROOT)))
    if files:
        wanted = [os.path.relpath(os.path.abspath(f), common.ROOT) for f in files]
        unknown = sorted(set(wanted) - compiled)
        if unknown:
            raise common.Usage(f"not compiled in this build: {' '.join(unknown)}")
    else:
        wanted = _to_lint(compiled)

    end = time.monotonic() + LINT_SECONDS
    waiting, running, failed, done = list(wanted), {}, [], 0
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1) and (files or time.monotonic() < end):
            name = waiting.pop(0)
            running[name] = subprocess.Popen(
                ["clang-tidy-14", "--quiet", "-p", flags, name],
                cwd=common.ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        if not running:
            break
        name = next(iter(running))
        output, _ = running[name].communicate()
        done += 1
        if running.pop(name).returncode != 0:
            failed.append(name)
            print(output.strip(), flush=True)
        if sys.stderr.isatty():
            print(f"\rmargay: checked {done} of {len(wanted)} files ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    left = f", {len(waiting)} left out at the time limit" if waiting else ""
    common.progress(f"clang-tidy: {done} files{left}; findings in {len(failed)}")
    return 1 if failed or upward else 0
