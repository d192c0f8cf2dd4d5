#!/usr/bin/python3
"""Checks the ABI reference against the headers it describes.

    check_abi.py [--root DIRECTORY]

Reads every enumeration, constant, structure and bit name of proto/*.hpp and the tables of
docs/manual/abi.md, and lists every difference: a name that the reference lacks, one that does not
exist, a value or an offset that is not the header's. Exit status 1 if there is one.

How the reference is written. A heading of level 3 or 4 that starts with a name in backticks
(### `Syscall`) describes that enumeration, namespace or structure; ### `proto/kernel.hpp`
describes the constants of that file that are in no namespace of their own. The first table behind it
has one row per name:

    | `call` | 0 | text |        enumerator or constant, and its value
    | `gpr`  | 0 | text |        member of a structure, and its offset in bytes

A value may be decimal, hexadecimal, or an expression of the form 1 << 3, and may be in backticks. An
empty one or a dash is not checked. Text elsewhere may name things as `Syscall::call`: those must exist
as well, also in the other pages of the manual.
"""

import argparse
import pathlib
import re
import sys

IDENTIFIER = r"[A-Za-z_]\w*"
SIZES = {"char": 1, "bool": 1, "unsigned": 4,
         "std::uint8_t": 1, "std::uint16_t": 2, "std::uint32_t": 4, "std::uint64_t": 8,
         "std::int8_t": 1, "std::int16_t": 2, "std::int32_t": 4, "std::int64_t": 8}
MASK = (1 << 64) - 1


class Problem(Exception):
    pass


def evaluate(expression, names):
    """The value of a C++ constant expression of numbers, known names and operators."""
    text = re.sub(r"static_cast<[^>]*>", "", expression)
    text = re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "", text)
    text = re.sub(r"\b(0[xX][0-9a-fA-F]+|[0-9]+)[uUlL]*\b", r"\1", text)
    text = re.sub(r"std::uint\d+_t\{([^}]*)\}", r"(\1)", text)

    def known(match):
        name = match[0]
        if name not in names:
            raise Problem(f"what is {name} in {expression.strip()!r}?")
        return str(names[name])

    # Not the x of a hexadecimal number.
    text = re.sub(rf"(?<![\w]){IDENTIFIER}(?:::{IDENTIFIER})*", known, text)
    if not re.fullmatch(r"[0-9a-fA-FxX\s()+\-*/%<>|&~^]*", text):
        raise Problem(f"cannot evaluate {expression.strip()!r}")
    text = " ".join(text.replace("/", "//").split())
    return eval(text, {"__builtins__": {}}) & MASK  # digits and operators only


class Interface:
    """What the headers define: groups of names with their values or offsets."""

    def __init__(self):
        self.groups = {}  # group: {name: value, or None if it has none}
        self.values = {}
        self.types = {name: (size, size) for name, size in SIZES.items()}

    def read(self, path, label):
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        text = re.sub(r"^\s*#[^\n]*", "", text, flags=re.MULTILINE)
        self._scope(text, label, label)

    def _add(self, group, name, value):
        self.groups.setdefault(group, {})[name] = value
        if value is not None:
            self.values[name if group.startswith("proto/") else f"{group}::{name}"] = value

    def _scope(self, text, group, label):
        """Declarations of one namespace."""
        position = 0
        start = re.compile(
            rf"\bnamespace\s+(?P<namespace>{IDENTIFIER})\s*\{{"
            rf"|\benum\s+(?:class\s+)?(?P<enum>{IDENTIFIER})\s*(?::\s*(?P<base>[\w:]+)\s*)?\{{"
            rf"|(?P<template>\btemplate\s*<[^>]*>\s*)?\b(?:struct|class)\s+(?P<struct>{IDENTIFIER})\s*\{{"
            rf"|\busing\s+(?P<alias>{IDENTIFIER})\s*=\s*(?P<target>[^;]+);"
            rf"|\bconstexpr\s+(?P<type>[\w:\s*]+?)\s+(?P<constant>{IDENTIFIER})\s*(?P<kind>[=(])"
        )
        while found := start.search(text, position):
            if found["alias"]:
                self.types[found["alias"]] = self._type(found["target"].strip())
                position = found.end()
            elif found["constant"]:
                position = self._constant(text, found, group)
            else:
                end = matching(text, found.end() - 1)
                body = text[found.end() : end]
                position = end + 1
                if found["namespace"]:
                    inner = found["namespace"]
                    self._scope(body, group if inner == "margay" else inner, label)
                elif found["enum"]:
                    self._enum(found["enum"], found["base"], body)
                elif found["template"]:
                    self.groups.setdefault(found["struct"], {})
                    if found["struct"] == "ByteRing":
                        self.types["ByteRing"] = None
                elif "public:" not in body:
                    # A class with functions is code, no layout.
                    self._struct(found["struct"], body)

    def _constant(self, text, found, group):
        name = found["constant"]
        if found["kind"] == "(":
            # A function of one argument (console_bit::channel) or a text function: no value.
            closing = matching(text, found.end() - 1, "(", ")")
            opening = text.index("{", closing)
            if name != "to_text":
                self._add(group, name, None)
            return matching(text, opening) + 1
        end = text.index(";", found.end())
        try:
            names = dict(self.values)
            names.update(self.groups.get(group, {}))
            self._add(group, name, evaluate(text[found.end() : end], names))
        except Problem:
            self._add(group, name, None)
        return end + 1

    def _enum(self, enum, base, body):
        value = 0
        self.types[enum] = self._type(base) if base else (4, 4)
        for part in filter(None, (piece.strip() for piece in body.split(","))):
            name, _, given = (piece.strip() for piece in part.partition("="))
            value = evaluate(given, self.values) if given else value
            if name != "count":
                self._add(enum, name, value)
            self.values[f"{enum}::{name}"] = value
            if base is None:
                self.values[name] = value
            value += 1

    def _type(self, text):
        text = text.strip()
        if text in self.types and self.types[text]:
            return self.types[text]
        atomic = re.fullmatch(r"std::atomic<(.+)>", text)
        if atomic:
            return self._type(atomic[1])
        ring = re.fullmatch(r"ByteRing<(\d+)>", text)
        if ring:
            return 8 + int(ring[1]), 4
        text_of_another = re.fullmatch(r"ForeignText<(\d+)>", text)
        if text_of_another:
            return int(text_of_another[1]), 1
        raise Problem(f"what type is {text!r}?")

    def _struct(self, struct, body):
        offset, widest = 0, 1
        self.groups.setdefault(struct, {})
        for declaration in filter(None, (piece.strip() for piece in body.split(";"))):
            declaration = re.sub(r"\{[^}]*\}|\s*=[^,]*", "", declaration)
            kind = re.match(r"[\w:]+(?:<[^>]*>)?", declaration)
            size, alignment = self._type(kind[0])
            widest = max(widest, alignment)
            for member in declaration[kind.end() :].split(","):
                named = re.fullmatch(rf"\s*({IDENTIFIER})\s*(?:\[(.*)\])?\s*", member, re.DOTALL)
                if not named:
                    raise Problem(f"{struct}: cannot read {declaration!r}")
                count = evaluate(named[2], self.values) if named[2] else 1
                offset = -(-offset // alignment) * alignment
                if not named[1].startswith("reserved"):
                    self._add(struct, named[1], offset)
                offset += size * count
        self.types[struct] = (-(-offset // widest) * widest, widest)


def matching(text, position, opening="{", closing="}"):
    """Index of the bracket that closes the one at position."""
    depth = 0
    for index in range(position, len(text)):
        depth += (text[index] == opening) - (text[index] == closing)
        if depth == 0:
            return index
    raise Problem("unbalanced brackets")


def read_headers(directory):
    interface = Interface()
    # What is on the serial line is no binary interface: docs/manual/control-protocol.md.
    paths = sorted(set(directory.glob("*.hpp")) - {directory / "frame.hpp", directory / "sealed_line.hpp"})
    # In the order in which they include each other.
    done = set()

    def read(path):
        if path in done:
            return
        done.add(path)
        for name in re.findall(r'#include "proto/([^"]+)"', path.read_text()):
            read(directory / name)
        interface.read(path, f"proto/{path.name}")

    for path in paths:
        read(path)
    return interface


def read_reference(text):
    """{group: {name: value text}} of the tables."""
    groups, group, state = {}, None, "none"
    for line in text.splitlines():
        heading = re.match(r"(#{1,6})\s+(?:`([^`]+)`)?", line)
        if heading:
            group = heading[2] if len(heading[1]) in (3, 4) else None
            state = "before"
            if group is not None:
                groups.setdefault(group, {})
        elif group is not None and line.startswith("|") and state in ("before", "table"):
            state = "table"
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            name = re.fullmatch(rf"`({IDENTIFIER})`", cells[0])
            if name:
                groups[group][name[1]] = cells[1].strip("` ") if len(cells) > 1 else ""
        elif state == "table":
            state = "behind"
    return groups


def compare(interface, reference):
    problems = []
    for group, names in interface.groups.items():
        if names and group not in reference:
            problems.append(f"{group}: not described")
            continue
        for name, value in names.items():
            if name not in reference[group]:
                problems.append(f"{group}: {name} is not described")
                continue
            stated = reference[group][name]
            if stated in ("", "-", "–", "—") or value is None:
                continue
            try:
                if evaluate(stated, interface.values) != value:
                    problems.append(f"{group}: {name} is {value:#x}, not {stated}")
            except Problem as problem:
                problems.append(f"{group}: {name}: {problem}")
    for group, names in reference.items():
        if group not in interface.groups:
            problems.append(f"{group}: there is no such thing in proto/")
            continue
        for name in names:
            if name not in interface.groups[group]:
                problems.append(f"{group}: there is no {name}")
    return problems


def dangling(interface, path):
    """Names of the form `Group::name` in a page that do not exist."""
    for group, name in re.findall(rf"`({IDENTIFIER})::({IDENTIFIER})`", path.read_text()):
        if group in interface.groups and name not in interface.groups[group]:
            yield f"{path.name}: there is no {group}::{name}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    root = parser.parse_args().root
    try:
        interface = read_headers(root / "proto")
    except Problem as problem:
        print(f"check_abi: cannot read the headers: {problem}", file=sys.stderr)
        return 1
    manual = root / "docs" / "manual"
    problems = compare(interface, read_reference((manual / "abi.md").read_text()))
    for page in sorted(manual.glob("*.md")):
        problems += dangling(interface, page)
    for problem in problems:
        print(problem)
    names = sum(len(group) for group in interface.groups.values())
    print(f"{names} names in {len(interface.groups)} groups, {len(problems)} differences")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
