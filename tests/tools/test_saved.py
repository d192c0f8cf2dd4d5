#!/usr/bin/python3
"""Files of saved VMs, as the host reads them: whole ones, parts, and what is none."""

import pathlib
import random
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "tools"))

import common
import saved

HEADER = saved.HEADER.pack(saved.MAGIC, saved.FORMAT, 0, 3, 77, 5, 1000, 8 * 4096)
RECORDS = [
    saved.record(saved.TYPE_HEADER, 0, 0, HEADER),
    saved.record(saved.TYPE_DEFINITION, 0, 0, b'{"name":"x","kernel":"k"}'),
    saved.record(saved.ZEROS, 0, 17, b""),
    saved.record(saved.WORDS, 17, 3, b"12345678"),
    saved.record(saved.DATA, 20, 1, bytes(range(256)) * 16),
    saved.record(saved.SAME, 21, 4, struct.pack("<I", 20)),
]
END = saved.record(saved.END, 25, 0, RECORDS[0][12:16])


class Files(unittest.TestCase):
    def setUp(self):
        self._directory = tempfile.TemporaryDirectory(prefix="margay-")
        self.addCleanup(self._directory.cleanup)
        self.path = pathlib.Path(self._directory.name, "x.saved")

    def read(self, data):
        self.path.write_bytes(data)
        return saved.File(self.path)

    def refuse(self, data, wanted):
        with self.assertRaisesRegex(saved.Damaged, wanted):
            self.read(data).check()

    def test_a_whole_one(self):
        file = self.read(b"".join(RECORDS) + END)
        file.check()
        self.assertEqual((file.snapshot, file.page, file.definition["name"]), (77, 25, "x"))
        self.assertEqual(file.offset_of(17), sum(map(len, RECORDS[:3])))
        self.assertEqual(file.offset_of(25), sum(map(len, RECORDS)))
        self.assertEqual(file.offset_of(0), 0)

    def test_a_part_says_where_to_go_on(self):
        whole = b"".join(RECORDS) + END
        for end in range(0, len(whole), 13):
            file = self.read(whole[:end])
            self.assertFalse(file.is_complete)
            self.assertIn(file.page, (0, 17, 20, 21, 25))
            self.assertLessEqual(file.sound, end)
            self.assertEqual(file.offset_of(file.page) if file.page else 0, file.sound if file.page else 0)
            with self.assertRaises(saved.Damaged):
                file.check()

    def test_each_changed_byte_is_found(self):
        whole = b"".join(RECORDS) + END
        places = random.Random(1)
        for at in [*range(200), *(places.randrange(len(whole)) for _ in range(100))]:
            changed = whole[:at] + bytes([whole[at] ^ 1 << places.randrange(8)]) + whole[at + 1 :]
            self.refuse(changed, ".")

    def test_reasons(self):
        whole = b"".join(RECORDS) + END
        self.refuse(b"", "no end")
        self.refuse(b"#!/bin/sh\necho this is something else\n", "no saved VM|damaged")
        self.refuse(whole[:-1], "cut off")
        self.refuse(whole + b"x", "behind its end")
        self.refuse(b"".join(RECORDS[:3] + RECORDS[4:]) + END, "page 17 is missing")
        self.refuse(b"".join(RECORDS[:-1]) + END, "too early")
        self.refuse(b"".join(RECORDS[:1] + RECORDS[2:]) + END, "no definition")
        later = saved.HEADER.pack(saved.MAGIC, 9, 0, 3, 77, 5, 1000, 4096)
        self.refuse(saved.record(saved.TYPE_HEADER, 0, 0, later), "format 9")
        with self.assertRaises(common.Usage):
            saved.File(self.path.with_name("none"))


if __name__ == "__main__":
    unittest.main()
