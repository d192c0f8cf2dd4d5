#!/usr/bin/python3
"""Keeps docs/manifest.schema.json and docs/manual/manifest.md as the code is.

    schema.py --build DIRECTORY            fails when one of them says something else
    schema.py --build DIRECTORY --write    writes the manual's page

The code says which keys there are, of what type, within which limits (check_manifest --keys); the schema
adds what they mean; the page is made of both.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

import common

SCHEMA = common.ROOT / "docs" / "manifest.schema.json"
PAGE = common.ROOT / "docs" / "manual" / "manifest.md"
MARK = "<!-- made by tools/schema.py from docs/manifest.schema.json: the rest of this page -->\n"


def keys_of_the_code(build):
    tool = pathlib.Path(build, "tools", "check_manifest")
    return json.loads(subprocess.run([tool, "--keys"], check=True, capture_output=True, text=True).stdout)


def _wanted(key):
    """What the schema has to say about a key of the code, apart from what it means."""
    kind = key["kind"]
    if kind == "vms":
        return {"type": "array", "maxItems": key["most"], "default": [], "items": {"$ref": "#/$defs/vm"}}
    if kind == "number":
        return {"type": "integer", "minimum": key["lowest"], "maximum": key["highest"], "default": key["default"]}
    if kind == "cpus":
        core = {"type": "integer", "minimum": 0, "maximum": 63}
        return {"anyOf": [{"type": "integer", "minimum": key["lowest"], "maximum": key["highest"]},
                          {"type": "array", "minItems": 1, "maxItems": key["highest"], "items": core}],
                "default": key["default"]}
    if kind == "devices":
        return {"type": "array", "maxItems": key["most"], "default": [], "items": {"$ref": "#/$defs/device"}}
    if kind == "choice":
        return {"enum": key["words"], "default": key["default"]}
    if kind == "flag":
        return {"type": "boolean", "default": key["default"]}
    wanted = {"type": "string"}
    if "pattern" in key:
        wanted["pattern"] = key["pattern"]
    if "most" in key:
        wanted.update(maxLength=key["most"], default=key["default"])
    return wanted


def differences(keys, schema):
    """What the schema says that the code does not, and the other way round, in lines."""
    found = []
    vm = schema["$defs"]["vm"]
    for place, said in ((keys["node"], schema), (keys["vm"], vm), (keys["device"], schema["$defs"]["device"])):
        properties = said["properties"]
        if said.get("additionalProperties") is not False:
            found.append("unknown keys must be refused (additionalProperties)")
        if [key["name"] for key in place] != list(properties):
            found.append(f"the code has {[k['name'] for k in place]}, the schema {list(properties)}")
            continue
        for key in place:
            name, wanted = key["name"], _wanted(key)
            if name in said.get("required", []):
                wanted.pop("default")
                wanted["minLength"] = 1
            have = dict(properties[name])
            if not have.pop("description", ""):
                found.append(f"{name}: no description")
            if have != wanted:
                found.append(f"{name}: the code wants {wanted}, the schema says {have}")
    if vm.get("required") != ["name", "kernel"]:
        found.append("a VM must have a name and a kernel (required)")
    return found


def _row(name, said, required):
    if "enum" in said:
        values = " or ".join(f"`{json.dumps(word)}`" for word in said["enum"])
    elif "anyOf" in said:
        number, cores = said["anyOf"]
        values = (f"{number['minimum']} to {number['maximum']}, or a list of up to {cores['maxItems']} cores,"
                  f" {cores['items']['minimum']} to {cores['items']['maximum']}")
    elif said["type"] == "boolean":
        values = "`true` or `false`"
    elif said["type"] == "integer":
        values = f"{said['minimum']} to {said['maximum']}"
    elif said["type"] == "array":
        things = "VMs" if said["items"]["$ref"].endswith("/vm") else "[devices](#keys-of-a-device)"
        values = f"a list of up to {said['maxItems']} {things}"
    else:
        values = f"text, up to {said['maxLength']} bytes" if "maxLength" in said else "text"
    default = "must be given" if name in required else f"`{json.dumps(said['default'])}`" if "default" in said else ""
    return f"| `{name}` | {values} | {default} | {said['description']} |\n"


def tables(schema):
    """The reference part of the manual's page."""
    vm = schema["$defs"]["vm"]
    text = ""
    device = schema["$defs"]["device"]
    for title, said in (("Keys of the node", schema), ("Keys of a VM", vm), ("Keys of a device", device)):
        text += f"\n## {title}\n\n| key | value | default | |\n| --- | --- | --- | --- |\n"
        for name, key in said["properties"].items():
            text += _row(name, key, said.get("required", []))
    return text


def page(written, schema):
    """The page as it should be: what stands before the mark is written by hand."""
    return written.partition(MARK)[0] + MARK + tables(schema)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, metavar="DIRECTORY")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    schema = json.loads(SCHEMA.read_text())
    found = differences(keys_of_the_code(options.build), schema)
    made = page(PAGE.read_text(), schema)
    if options.write:
        PAGE.write_text(made)
    elif made != PAGE.read_text():
        found.append(f"{PAGE.relative_to(common.ROOT)} is not what tools/schema.py --write makes")
    for line in found:
        print(re.sub(r"\s+", " ", line), file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
