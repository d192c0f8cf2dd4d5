#!/usr/bin/python3
"""The manifest's checker on the host, and that the schema takes what it takes: test_manifest.py BUILD."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import node_image  # noqa: E402
import schema  # noqa: E402

BUILD = pathlib.Path(sys.argv.pop(1)) if len(sys.argv) > 1 else ROOT / "build" / "release"
SCHEMA = json.loads(schema.SCHEMA.read_text())
CPU_MODELS = ("host", "host,-aes", "-aes", "+aes,-avx", "x86-64", "x86-64-v1", "x86-64-v4,+aes,-avx512f", "x86-64-v5", "-",
              "host,", "-aes,,-avx", "-aes,host", "aes", "-AES", "-aess", "host-aes")


def checked(text):
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory, "m.json")
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        done = subprocess.run([BUILD / "tools" / "check_manifest", file], check=True, capture_output=True)
        return json.loads(done.stdout.decode(errors="replace"))


def valid(value, said):
    """Whether a value keeps to a schema, of which this knows what ours uses."""
    if "$ref" in said:
        said = SCHEMA["$defs"][said["$ref"].rpartition("/")[2]]
    if "enum" in said:
        return value in said["enum"]
    if "anyOf" in said:
        return any(valid(value, each) for each in said["anyOf"])
    if said["type"] == "boolean":
        return isinstance(value, bool)
    if said["type"] == "integer":
        return type(value) is int and said["minimum"] <= value <= said["maximum"]
    if said["type"] == "string":
        return (isinstance(value, str) and said.get("minLength", 0) <= len(value) <= said.get("maxLength", 1 << 20)
                and re.search(said.get("pattern", ""), value) is not None)
    if said["type"] == "array":
        return (isinstance(value, list) and said.get("minItems", 0) <= len(value) <= said["maxItems"]
                and all(valid(v, said["items"]) for v in value))
    known = said["properties"]
    return (isinstance(value, dict) and set(said.get("required", [])) <= set(value)
            and all(k in known and valid(v, known[k]) for k, v in value.items()))


def candidates(said):
    """Values at the limits and of other types."""
    yield from (None, True, 0, 1, -1, 1.5, "", "x", [], {}, [1])
    for limit in ("minimum", "maximum"):
        if limit in said:
            yield from (said[limit] - 1, said[limit], said[limit] + 1)
    if "maxLength" in said:
        yield from ("y" * said["maxLength"], "y" * (said["maxLength"] + 1))
    if "pattern" in said:
        yield from CPU_MODELS
    yield from said.get("enum", ())
    for each in said.get("anyOf", ()):
        yield from candidates(each)
    if said.get("type") == "array" and said["items"].get("type") == "integer":
        most, core = said["maxItems"], said["items"]["maximum"]
        yield from ([core] * most, [core] * (most + 1), [core + 1], [[1]], ["1"])


class SchemaAndParser(unittest.TestCase):
    def agree(self, manifest):
        text = json.dumps(manifest)
        errors = checked(text)["errors"]
        self.assertEqual(not errors, valid(manifest, SCHEMA), f"{text[:200]}: {errors}")
        return not errors

    def test_each_key_at_its_limits(self):
        taken = refused = 0
        for name, said in SCHEMA["properties"].items():
            for value in candidates(said):
                if self.agree({name: value}):
                    taken += 1
                else:
                    refused += 1
        for name, said in SCHEMA["$defs"]["vm"]["properties"].items():
            for value in candidates(said):
                if self.agree({"vms": [{"name": "n", "kernel": "k", name: value}]}):
                    taken += 1
                else:
                    refused += 1
        self.assertGreater(taken, 40)
        self.assertGreater(refused, 150)

    def test_lists_and_missing_keys(self):
        vm = {"name": "n", "kernel": "k"}
        for manifest in ({}, {"vms": []}, {"vms": [vm]}, {"vms": [{"name": "n"}]}, {"vms": [{"kernel": "k"}]},
                         {"vms": [{}]}, {"vms": {}}, {"vm": []}, [], {"vms": [{**vm, "colour": 1}]}):
            self.agree(manifest)
        most = SCHEMA["properties"]["vms"]["maxItems"]
        many = [{"name": f"n{i}", "kernel": "k"} for i in range(most + 1)]
        self.assertTrue(self.agree({"vms": many[:most]}))
        self.assertFalse(self.agree({"vms": many}))


class Checker(unittest.TestCase):
    def test_the_default_manifest(self):
        found = checked((ROOT / "boot" / "manifest.json").read_bytes())
        self.assertEqual(found["errors"], [])
        self.assertEqual(found["vms"][0]["memory_mib"], 256)
        self.assertEqual(found["node"]["test_exit_port"], 244)

    def test_all_errors_in_the_order_of_lines(self):
        text = '{\n"vms": [\n{\n"memory_mib": 0,\n"core": 64}],\n"colour": [1],\n"test_exit_port": "x"\n}'
        found = checked(text)["errors"]
        self.assertEqual([(e["line"], e["key"]) for e in found],
            [(3, "name"), (3, "kernel"), (4, "memory_mib"), (5, "core"), (6, "colour"), (7, "test_exit_port")])
        lines = list(node_image.error_lines("m.json", checked(text)))
        self.assertEqual(lines[2], 'm.json:4: key "memory_mib": must be 1 to 1048576 MiB')

    def test_no_json_and_odd_bytes(self):
        self.assertEqual(checked("{")["errors"][0]["line"], 1)
        self.assertEqual(len(checked(b'{"\xff\x01": 1}')["errors"]), 1)

    def test_an_exit_port_is_put_in_without_moving_lines(self):
        texts = ['// {"no": 1}\n/* { */ {\n"vms": [] }', "{}", '{"test_exit_port": 0, "vms": []}', "{ // end\n}"]
        for text in texts:
            changed = node_image.with_exit_port(text.encode(), 233)
            found = checked(changed)
            self.assertEqual((found["errors"], found["node"]["test_exit_port"]), ([], 233), changed)
            self.assertEqual(changed.count(b"\n"), text.count("\n"))

    def test_differences_are_found(self):
        keys = schema.keys_of_the_code(BUILD)
        self.assertEqual(schema.differences(keys, SCHEMA), [])
        keys["vm"][1]["highest"] += 1
        keys["node"][2]["default"] = "stay"
        found = schema.differences(keys, SCHEMA)
        self.assertEqual([f.partition(":")[0] for f in found], ["on_last_vm_off", "memory_mib"])


if __name__ == "__main__":
    unittest.main()
