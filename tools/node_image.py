"""What a node is made of: the boot modules and the manifest, from the options of `run` and `image`.

Everything that can be known to be wrong is refused here, before an emulator starts, with the option's name.
"""

import dataclasses
import json
import os
import pathlib
import re
import struct
import subprocess
import sys

import bochs
import build
import common
import devices
import fetch
import image
import initramfs
import qemu

KERNEL = "ukernel"
# In the order in which init expects them; the kernel starts the first one.
SERVERS = ("init", "pmem", "console", "pci", "vmm")
CHECKER = "check_manifest"
# What the guest's kernel is given unless the user names the same parameter.
DEFAULT_PARAMETERS = (("console", "console=ttyS0"), ("panic", "panic=-1"))
COMMAND_LINE = " ".join(text for _, text in DEFAULT_PARAMETERS)
MAX_APPEND_BYTES = 2047  # max_append of servers/init/manifest.hpp, and Linux' own limit
MAX_MODULE_NAME = 23  # max_name there
MAX_MODULES = 32  # of ukernel/boot/multiboot2.hpp
DEFAULT_MEMORY_MIB = 256
MAX_CORES = 128
MAX_VCPUS = 64  # max_vcpus of servers/init/manifest.hpp
# GRUB loads modules below 4 GiB, where an emulated machine has 2 GiB at least for them.
MAX_MODULES_MIB = 1536
MIB = 1 << 20


@dataclasses.dataclass
class Plan:
    """A node: its boot modules, and what it needs of a machine."""

    modules: list  # (name, file or bytes) in boot order
    cores: int
    memory_mib: int


def kernel_parameters(text):
    """The names of a Linux command line's parameters, up to "--": what is quoted is not looked into."""
    names = []
    for word in re.findall(r'(?:"[^"]*"?|[^\s"])+', text):
        if word == "--":
            break
        names.append(word.strip('"').partition("=")[0])
    return names


def command_line(append):
    """The guest kernel's command line: the user's text behind those defaults that it does not name."""
    try:
        append.encode()
    except UnicodeEncodeError:
        raise common.Usage("--append: the text is not UTF-8") from None
    if re.search(r"[\x00-\x1f]", append):
        raise common.Usage("--append: the text has a control character or a new line")
    names = kernel_parameters(append)
    words = [text for name, text in DEFAULT_PARAMETERS if name not in names]
    whole = " ".join([*words, append]).strip()
    if len(whole.encode()) > MAX_APPEND_BYTES:
        raise common.Usage(f"--append: the command line would have {len(whole.encode())} bytes,"
            f" Linux takes {MAX_APPEND_BYTES}")
    return whole


def _named_file(text, option):
    name, equals, file = text.partition("=")
    if not equals or not name:
        raise common.Usage(f"{option} {text}: want NAME=FILE")
    if not image.MODULE_NAME.fullmatch(name) or len(name) > MAX_MODULE_NAME:
        raise common.Usage(f"{option} {text}: a name has up to {MAX_MODULE_NAME} letters, digits, and . _ -")
    if name in ("manifest", KERNEL) or (option == "--vmm" and name in SERVERS[:-1]):
        raise common.Usage(f"{option} {text}: '{name}' is not a name for this")
    return name, common.readable_file(file, f"{option} {name}")


def _check_program(name, file):
    """A VMM must be what init can load at all."""
    with open(file, "rb") as opened:
        header = opened.read(20)
    if header[:6] != b"\x7fELF\x02\x01" or len(header) < 20 or struct.unpack_from("<H", header, 18)[0] != 62:
        raise common.Usage(f"--vmm {name}={file}: not an ELF program for x86-64")


def _is_multiboot(head):
    """Whether there is a Multiboot header in the first 8192 bytes of a file."""
    words = struct.unpack(f"<{len(head) // 4}I", head[:len(head) // 4 * 4])
    return any(word == 0x1BADB002 and sum(words[i:i + 3]) % 2**32 == 0 for i, word in enumerate(words[:-2]))


@dataclasses.dataclass
class Wanted:
    """Where a VM's kernel, initrd and memory come from, for people."""

    kernel: str
    initrd: str = ""
    memory: str = "--memory"


def check_kernel(kernel, initrd_bytes, memory_mib, wanted):
    """Refuses what the VMM's loaders would (servers/vmm/loader), as far as that is seen at a glance."""
    what = wanted.kernel
    with open(kernel, "rb") as opened:
        header = opened.read(8192)
    if len(header) < 0x268 or header[0x202:0x206] != b"HdrS":
        if header[:4] == b"\x7fELF" or _is_multiboot(header):
            return
        raise common.Usage(f"{what}: not a Linux kernel (bzImage), no Multiboot kernel and no ELF file")
    version = struct.unpack_from("<H", header, 0x206)[0]
    if version < 0x200:
        raise common.Usage(f"{what}: its boot protocol is older than 2.00")
    preferred, init_size = struct.unpack_from("<QI", header, 0x258) if version >= 0x20A else (MIB, 0)
    # Kernel and initrd lie one behind the other in the memory below 3 GiB.
    alone = max(preferred, MIB) + init_size
    there = min(memory_mib, 3072) * MIB
    if alone > there:
        raise common.Usage(f"{what}: it needs {-(-alone // MIB)} MiB of guest memory, the guest has"
            f" {memory_mib} ({wanted.memory})")
    if alone + initrd_bytes > there:
        below = "" if memory_mib <= 3072 else ", of which 3072 count for this"
        raise common.Usage(f"{wanted.initrd}: with {-(-initrd_bytes // MIB)} MiB it does not fit beside the kernel: both need"
            f" {-(-(alone + initrd_bytes) // MIB)} MiB of guest memory, the guest has {memory_mib} ({wanted.memory}){below}")


def check_options(options):
    """Refuses what can be refused without building or fetching anything."""
    for option in ("kernel", "initrd", "manifest"):
        value = getattr(options, option)
        if value is not None:
            if not value:
                raise common.Usage(f"--{option}: the name of the file is empty")
            common.readable_file(value, f"--{option}")
    if options.manifest is not None:
        for option in ("append", "memory", "exec", "cpus"):
            if getattr(options, option) is not None:
                raise common.Usage(f"--{option} is for the default manifest: {options.manifest} has its own")
    added = getattr(options, "device", [])
    devices.parse(added)
    if added and options.manifest is not None:
        raise common.Usage(f"--device is for the default manifest: {options.manifest} has its own")
    if options.exec is not None and options.initrd is not None:
        raise common.Usage("--exec is for the default initramfs: leave out --initrd")
    if options.exec is not None and options.kernel is not None:
        common.progress("--exec: the kernel must be a Linux that can run the default initramfs")
    command_line(options.append or "")
    files = dict(_named_file(text, "--module") for text in options.module)
    if len(files) != len(options.module):
        raise common.Usage("--module: the same name is given twice")
    for option in ("kernel", "initrd"):
        if getattr(options, option) is not None and option in files:
            raise common.Usage(f"--{option} and --module {option}=… are the same module")
    if options.vmm is not None:
        name, file = _named_file(options.vmm, "--vmm")
        if name in files:
            raise common.Usage(f"--vmm and --module {name}=… are the same module")
        _check_program(name, file)


def targets(options):
    """What has to be built for it."""
    return [KERNEL, *SERVERS] + ([CHECKER] if options.manifest is not None else [])


def check_manifest(preset, file):
    """What the node's own parser says of a manifest: {"errors": […], "vms": […], "node": {…}}."""
    tool = build.directory(preset) / "tools" / CHECKER
    done = subprocess.run([tool, file], capture_output=True)
    if done.returncode != 0:
        raise common.Usage(done.stderr.decode(errors="replace").strip())
    return json.loads(done.stdout.decode(errors="replace"))


def error_lines(file, found):
    """Its errors, a line each, as compilers write them."""
    for error in found["errors"]:
        key = f'key "{error["key"]}": ' if error["key"] else ""
        yield f"{file}:{error['line']}: {key}{error['what']}"


def with_exit_port(text, port):
    """The manifest (bytes) with an exit port, on a line that is there already."""
    key = re.compile(rb'("test_exit_port"\s*:\s*)\d+')
    if key.search(text):
        return key.sub(rb"\g<1>%d" % port, text)
    # Behind the first brace that is not in a comment.
    brace = re.match(rb"(?:\s|//[^\n]*\n|/\*.*?\*/)*\{", text, re.DOTALL)
    return text[: brace.end()] + b' "test_exit_port": %d,' % port + text[brace.end() :]


def _size(content):
    return len(content) if isinstance(content, bytes) else pathlib.Path(content).stat().st_size


def _guest_files(options, wanted):
    """The kernel and the initrd that the user did not bring as modules."""
    files = {}
    if "kernel" in wanted:
        files["kernel"] = pathlib.Path(options.kernel) if options.kernel is not None else fetch.kernel()
    if options.initrd is not None:
        files["initrd"] = pathlib.Path(options.initrd)
    elif "initrd" in wanted:
        files["initrd"] = initramfs.base(kernel=None if options.kernel is not None else fetch.DEFAULT_KERNEL)
        if getattr(options, "headless", True) is False and sys.stdout.isatty():
            columns, rows = os.get_terminal_size(sys.stdout.fileno())
            files["initrd"] = initramfs.with_size(files["initrd"], rows, columns)
        needed = [module for d in devices.parse(getattr(options, "device", [])) for module in d.modules]
        if needed and options.kernel is None:
            files["initrd"] = initramfs.with_modules(files["initrd"], list(dict.fromkeys(needed)))
        if options.exec is not None:
            files["initrd"] = initramfs.with_command(files["initrd"], options.exec)
    return files


def _default_manifest(options, own):
    cpus = options.cpus or 1
    cores = options.cores or (1 if cpus == 1 else min(1 + cpus, MAX_CORES))
    # Another kernel need not be a Linux, and gets only what the user gives it.
    has_initrd = options.initrd is not None or "initrd" in own or options.exec is not None or options.kernel is None
    changes = {}
    if options.vmm is not None:
        name = options.vmm.partition("=")[0]
        changes = {"vmm": name, "vmm_fallback": "" if name == "vmm" else "vmm"}
    text = image.manifest(
        memory_mib=options.memory or DEFAULT_MEMORY_MIB,
        append=command_line(options.append or ""),
        core=1 if cores > 1 else 0,
        cpus=cpus,
        initrd="initrd" if has_initrd else None,
        # Nobody is there to give it another VMM.
        on_freeze="stop" if getattr(options, "headless", False) else "keep",
        **devices.manifest_keys(devices.parse(getattr(options, "device", []))),
        **changes,
    )
    vm = {"name": "linux", "memory_mib": options.memory or DEFAULT_MEMORY_MIB, "kernel": "kernel",
          "initrd": "initrd" if has_initrd else "", "core": 0}
    return text, [vm], cores


def _cores_of(vm):
    """How many the node must have for it: one for each vCPU, unless the manifest says which."""
    return max(vm["cpus"]) + 1 if isinstance(vm["cpus"], list) else vm["core"] + vm["cpus"]


def _users_manifest(options, preset):
    file = options.manifest
    found = check_manifest(preset, file)
    if found["errors"]:
        raise common.Usage("\n".join(error_lines(file, found)))
    text = pathlib.Path(file).read_bytes()
    cores = options.cores or min(max(map(_cores_of, found["vms"]), default=1), MAX_CORES)
    for vm in found["vms"]:
        core = max(vm["cpus"]) if isinstance(vm["cpus"], list) else vm["core"]
        if core >= cores:
            raise common.Usage(f"{file}: VM {vm['name']} wants core {core}, the node has {cores} (--cores)")
    return text, found["vms"], cores


def _check_vms(vms, modules, file):
    for vm in vms:
        for key in ("kernel", "initrd", "vmm", "vmm_fallback"):
            name = vm.get(key)
            if name and name not in modules:
                raise common.Usage(f"{file}: VM {vm['name']}: there is no boot module named '{name}' ({key}):"
                    f" give --module {name}=FILE")


def _origin(options, vm, key):
    """What a user gave for a VM's `kernel` or `initrd`."""
    name = vm[key]
    if name == key and getattr(options, key) is not None:
        given = f"--{key} {getattr(options, key)}"
    else:
        named = [text for text in options.module if text.partition("=")[0] == name]
        given = f"--module {named[0]}" if named else f"the default {key}"
    return given if options.manifest is None else f'{options.manifest}: VM {vm["name"]}, key "{key}": {given}'


def _wanted(options, vm):
    memory = "--memory" if options.manifest is None else "memory_mib"
    return Wanted(_origin(options, vm, "kernel"), _origin(options, vm, "initrd") if vm.get("initrd") else "", memory)


def _memory(vms, modules):
    """MiB for the machine: GRUB holds the modules in memory once, init reads them there."""
    guests = sum(vm["memory_mib"] for vm in vms)
    files = sum(map(_size, modules.values())) // MIB + 1
    if files > MAX_MODULES_MIB:
        raise common.Usage(f"the boot modules have {files} MiB; GRUB has room for {MAX_MODULES_MIB}")
    memory = guests + qemu.NODE_MEMORY_MIB + 2 * files
    # A machine with more has 2 GiB of it below 4 GiB and the rest above: there the guests have room in one piece.
    if memory >= qemu.SPLIT_FROM_MIB:
        memory = max(memory, qemu.LOW_MEMORY_MIB + guests + qemu.NODE_MEMORY_MIB)
    return memory


def plan(options, preset, exit_port=None):
    """The node; what it needs must be built. exit_port: puts this one into a manifest of the user's."""
    programs = build.directory(preset) / "modules"
    own = dict(_named_file(text, "--module") for text in options.module)
    if options.vmm is not None:
        own.update([_named_file(options.vmm, "--vmm")])
    if options.manifest is not None:
        manifest, vms, cores = _users_manifest(options, preset)
        if exit_port is not None:
            manifest = with_exit_port(manifest, exit_port)
    else:
        manifest, vms, cores = _default_manifest(options, own)
        if exit_port is not None:
            manifest = with_exit_port(manifest, exit_port)
    modules = {name: programs / name for name in SERVERS}
    modules["manifest"] = manifest
    wanted = {vm.get(key) for vm in vms for key in ("kernel", "initrd")} - set(own)
    modules.update(_guest_files(options, wanted))
    modules.update(own)
    if len(modules) > MAX_MODULES:
        raise common.Usage(f"{len(modules)} boot modules: the kernel takes {MAX_MODULES}")
    _check_vms(vms, modules, options.manifest)
    for vm in vms:
        kernel = modules[vm["kernel"]]
        initrd = _size(modules[vm["initrd"]]) if vm.get("initrd") else 0
        if not isinstance(kernel, bytes):
            check_kernel(kernel, initrd, vm["memory_mib"], _wanted(options, vm))
    return Plan(list(modules.items()), cores, _memory(vms, modules))
