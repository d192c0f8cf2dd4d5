#!/usr/bin/python3
"""Links an image twice and optimises it once; stands before the compiler's link command.

    link.py first DIRECTORY COMMAND …     optimises, keeps the object code in DIRECTORY, and links it
    link.py again DIRECTORY COMMAND …     links that object code with what else COMMAND names

Both links of an image (cmake/target_code.cmake) have the same code and differ in the symbol table only. Link-time
optimisation takes most of their time. When the compiler leaves its object code not where this expects it, both
links are made as they are.
"""

import json
import pathlib
import shutil
import subprocess
import sys

KEPT = "objects.json"
DEBUG = ".debug.temp.o"  # the debug information of one input, which the compiler sets apart


def _optimise(directory, command):
    """Links for the sake of the object code; the compiler's status."""
    line = []
    for word in command:
        if word.endswith(".a"):
            # What is made of an archive's members stands beside it; several images link the same archive.
            archive = directory / f"{len(line)}.{pathlib.Path(word).name}"
            archive.symlink_to(pathlib.Path(word).absolute())
            word = str(archive)
        line.append(word)
    line[line.index("-o") + 1] = str(directory / "image")
    status = subprocess.run([*line, "-save-temps"]).returncode
    if status != 0:
        return status
    code = list(directory.glob("image.ltrans*.ltrans.o"))
    replaced = [word for word in command if pathlib.Path(word + DEBUG).exists()]
    kept = []
    for number, source in enumerate([pathlib.Path(word + DEBUG) for word in replaced]
                                    + sorted(directory.glob(f"*{DEBUG}"))):
        kept.append(str(source.rename(directory / f"debug.{number}.o")))
    if len(code) == 1 and replaced:
        objects = {"replaced": replaced, "instead": [str(code[0]), *kept]}
        (directory / KEPT).write_text(json.dumps(objects))
    for file in directory.iterdir():
        if file.name != KEPT and file not in code and str(file) not in kept:
            file.unlink()
    return 0


def _again(directory, command):
    """Links the object code in place of what it was made of; the linker's status."""
    try:
        objects = json.loads((directory / KEPT).read_text())
    except FileNotFoundError:
        return subprocess.run(command).returncode
    line = []
    for word in command:
        if word == objects["replaced"][0]:
            line += objects["instead"]
        if word not in objects["replaced"] and not word.startswith("-flto"):
            line.append(word)
    return subprocess.run([*line, "-fno-lto"]).returncode


def main(arguments):
    which, directory, *command = arguments
    directory = pathlib.Path(directory)
    if which == "first":
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        status = _optimise(directory, command)
        if status != 0:
            return status
    return _again(directory, command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
