"""Files of saved VMs (docs/manual/saved-vms.md): a list of records, each with a CRC-32 of its own."""

import json
import os
import pathlib
import struct
import zlib

import common

HEAD = struct.Struct("<BBHIII")  # type, 0, length of the payload, page, pages, CRC
# Magic, format, vCPUs beyond the first, ABI, snapshot, last exit, kHz of the node's clock, bytes of RAM; then, not in
# files of older builds, the features that the guest has seen of the processor.
HEADER, FEATURES = struct.Struct("<8sHHIQQQQ"), struct.Struct("<Q")
MAGIC, FORMAT = b"MargayVM", 1
TYPE_HEADER, TYPE_DEFINITION, DATA, ZEROS, WORDS, SAME, END = b"HVDZRSE"
MAX_PAYLOAD, MAX_PAGES, PAGE_BYTES = 8192, 64, 4096


class Damaged(common.Failure):
    """It is no file of a saved VM, or not a whole one."""


def record(kind, page, pages, payload):
    """A record as bytes."""
    head = struct.pack("<BBHII", kind, 0, len(payload), page, pages)
    return head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload


class File:
    """What is in a file, as far as it is sound. It is complete if it has its end."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.snapshot = self.definition = None
        self.page = 0  # the next one
        self.sound = 0  # bytes
        self.is_complete = False
        self._begins = {}  # of records, in the file, by page
        self._header_crc = None
        try:
            with self.path.open("rb") as file:
                self._why = self._read(file)
        except OSError as error:
            raise common.Usage(f"{path}: {error.strerror}") from None

    def _read(self, file):
        """Up to the end or the first record that is not sound; why it is not."""
        size = os.fstat(file.fileno()).st_size
        while True:
            head = file.read(HEAD.size)
            if not head:
                return "it has no end: it was not saved to the end"
            if len(head) < HEAD.size:
                return "it is cut off"
            kind, zero, length, page, pages, crc = HEAD.unpack(head)
            if length > MAX_PAYLOAD or zero:
                return "it is damaged"
            payload = file.read(length)
            if len(payload) < length:
                return "it is cut off" if self.snapshot else "it is no saved VM"
            if zlib.crc32(payload, zlib.crc32(head[:-4])) != crc:
                return "it is damaged" if self.snapshot else "it is no saved VM"
            if why := self._take(kind, page, pages, payload, crc):
                return why
            self.sound = file.tell()
            if self.is_complete:
                return "there is something behind its end" if self.sound != size else None

    def _take(self, kind, page, pages, payload, crc):
        if self.snapshot is None:
            if kind != TYPE_HEADER or payload[:8] != MAGIC:
                return "it is no saved VM"
            if len(payload) not in (HEADER.size, HEADER.size + FEATURES.size):
                return "it is no saved VM"
            _, version, _, self.abi, self.snapshot, _, _, self.ram_bytes = HEADER.unpack_from(payload)
            if version != FORMAT:
                return f"it has format {version}, this program reads format {FORMAT}"
            self._header_crc = crc
        elif kind == TYPE_DEFINITION and not self.page:
            try:
                self.definition = json.loads(payload)
            except ValueError:
                return "its definition is no JSON"
            if not isinstance(self.definition, dict):
                return "its definition is no VM's"
        elif kind == END:
            if page != self.page or payload != struct.pack("<I", self._header_crc):
                return "it ends too early"
            self.is_complete = True
        else:
            if page != self.page or not 0 < pages <= MAX_PAGES:
                return f"page {self.page} is missing"
            self._begins[page] = self.sound
            self.page += pages
        return None

    def check(self):
        """It must be whole."""
        if self._why or self.definition is None:
            raise Damaged(f"{self.path}: {self._why or 'it has no definition'}")

    def offset_of(self, page):
        """Where in the file that page's record begins; 0: the file's begin."""
        if page == self.page:
            return self.sound if not self.is_complete else self.sound - HEAD.size - 4
        return self._begins.get(page, 0) if page else 0
