#!/usr/bin/python3
"""Fetches from Debian what is used but not installed, into the cache.

    fetch.py [zydis] [busybox] [kexec-tools] [memtest86+] [xen] [linux-image-cloud-amd64] [linux-image-amd64]
             [linux-image-rt-amd64] [debian-installer]

Without arguments, all but those of the last line.

The machine's package manager and its configuration stay as they are: apt runs with lists of its
own, from the machine's Debian mirrors, and checks the signatures as always. No root needed.
"""

import atexit
import contextlib
import fcntl
import gzip
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

import common

KERNELS = ("linux-image-cloud-amd64", "linux-image-amd64")
DEFAULT_KERNEL = KERNELS[0]
REAL_TIME_KERNEL = "linux-image-rt-amd64"
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def kernel(package=DEFAULT_KERNEL):
    """The kernel image of one of Debian's meta packages, fetched when it is not there yet."""
    return _fetched(f"{package}/vmlinuz", f"Debian's {package}", lambda apt, to: _kernel(apt, package, to))


# What the default guest has of its kernel's modules: for the power button.
MODULES = ("button.ko", "evdev.ko")
# For a network adapter by virtio, which it may be given.
NETWORK_MODULES = ("virtio_ring.ko", "virtio.ko", "virtio_pci_legacy_dev.ko", "virtio_pci_modern_dev.ko", "virtio_pci.ko",
                   "failover.ko", "net_failover.ko", "virtio_net.ko")
# For Intel's, and for SATA disks, which the kernel for clouds does not know.
GENERAL_KERNEL = "linux-image-amd64"
E1000E_MODULES = ("e1000e.ko",)
SATA_MODULES = ("scsi_common.ko", "scsi_mod.ko", "libata.ko", "libahci.ko", "ahci.ko", "crct10dif_common.ko", "crct10dif_generic.ko",
                "crc-t10dif.ko", "crc64.ko", "crc64_rocksoft_generic.ko", "crc64-rocksoft.ko", "t10-pi.ko", "sd_mod.ko")


def kernel_modules(package=DEFAULT_KERNEL, names=MODULES):
    """The kernel's version, and the files of some of its modules, in the order in which they can be loaded."""
    last = _fetched(f"{package}/{names[-1]}", f"Debian's {package}", lambda apt, to: _kernel(apt, package, to))
    return (last.parent / "version").read_text().strip(), [last.parent / name for name in names]


def busybox():
    return _fetched("busybox-static/busybox", "Debian's busybox-static", _busybox)


def zydis():
    """The directory with the Zydis sources."""
    return _fetched("zydis/include/Zydis/Zydis.h", "the Zydis sources", _zydis).parents[2]


def hpcc():
    """A directory with Debian's hpcc, OpenBLAS and all that they need, as they would be installed."""
    return _fetched("hpcc/usr/bin/hpcc", "Debian's hpcc",
        lambda apt, to: _installed(apt, to, "hpcc", "libopenblas0-serial")).parents[2]


def mpi_headers():
    """The directory with mpi.h of Debian's OpenMPI, the one that hpcc() has."""
    return _fetched("openmpi-headers/mpi.h", "the headers of Debian's OpenMPI",
        lambda apt, to: _files(apt, to, "libopenmpi-dev", r".*/openmpi/(mpi|mpi_portable_platform)\.h")).parent


def memtest(architecture):
    """memtest86+ as a Linux kernel; architecture: "x64" or "ia32"."""
    return _fetched(f"memtest86+/memtest86+{architecture}.bin", "Debian's memtest86+",
        lambda apt, to: _files(apt, to, "memtest86+", r"\./boot/memtest86\+.*\.bin"))


def xen():
    """The Xen hypervisor, an ELF file."""
    return _fetched("xen/xen", "Debian's Xen", _xen)


def installer():
    """The Debian installer's kernel and initial RAM disk, those for text."""
    initrd = _fetched("debian-installer/initrd.gz", "the Debian installer",
        lambda apt, to: _files(apt, to, "debian-installer-12-netboot-amd64", r".*/text/.*/(linux|initrd\.gz)"))
    return initrd.parent / "linux", initrd


def kexec_tools():
    """A directory with Debian's kexec-tools and all that they need, as they would be installed."""
    return _fetched("kexec-tools/sbin/kexec", "Debian's kexec-tools",
        lambda apt, to: _installed(apt, to, "kexec-tools")).parents[1]


class _Apt:
    """apt-get with private lists of the machine's own mirrors, sources included."""

    def __init__(self, directory):
        self.directory = directory
        for name in ("lists/partial", "archives/partial"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        sources = directory / "debian.sources"
        sources.write_text("\n".join(sorted(self._mirrors())))
        self.options = [
            f"Dir::Etc::sourcelist={sources}",
            "Dir::Etc::sourceparts=-",
            f"Dir::State::lists={directory / 'lists'}",
            f"Dir::Cache={directory}",
            # The cache is the user's; apt's own user could not write to it.
            "APT::Sandbox::User=",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
        ]
        self("apt-get", "update")

    @staticmethod
    def _mirrors():
        listed = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)"]
            + ["Created-By: Packages"],
            capture_output=True,
            text=True,
        ).stdout
        found = set()
        for line in listed.splitlines():
            uri, release, component = line.split("|")
            if component == "main" and "/debian" in uri and release.startswith("bookworm"):
                found.add((uri, release))
        for uri, release in found or {("http://deb.debian.org/debian/", "bookworm")}:
            lines = ["Types: deb deb-src", f"URIs: {uri}", f"Suites: {release}", "Components: main"]
            if KEYRING.exists():
                lines.append(f"Signed-By: {KEYRING}")
            yield "\n".join(lines) + "\n"

    def __call__(self, *command):
        """Runs an apt tool in the cache directory and returns what it printed."""
        program, *arguments = command
        options = [part for option in self.options for part in ("-o", option)]
        done = subprocess.run(
            [program, *options, "-q", *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))] or ["no reason given"]
            raise common.Failure(f"{program} {arguments[0]}: {said[0].partition(': ')[2] or said[0]}")
        return done.stdout

    def unpack(self, package, members):
        """Fetches a binary package; yields (name, file) of the members that match."""
        self("apt-get", "download", package)
        (archive,) = self.directory.glob(f"{package}_*.deb")
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpacked:
            with tarfile.open(fileobj=unpacked.stdout, mode="r|") as tar:
                for member in tar:
                    if member.isfile() and re.fullmatch(members, member.name):
                        yield member.name, tar.extractfile(member)
            unpacked.stdout.read()


def _kernel(apt, package, to):
    # The meta package depends on the one with the version in its name.
    described = apt("apt-cache", "show", "--no-all-versions", package)
    depends = re.search(r"^Depends: .*?(linux-image-\d\S+)", described, re.MULTILINE)
    if not depends:
        raise common.Failure(f"{package} depends on no kernel package")
    modules = "|".join(map(re.escape, (*MODULES, *NETWORK_MODULES, *E1000E_MODULES, *SATA_MODULES)))
    for name, file in apt.unpack(depends[1], rf"\./boot/vmlinuz-.*|.*/kernel/(.*/)?({modules})"):
        if "vmlinuz" in name:
            (to / "vmlinuz").write_bytes(file.read())
            (to / "version").write_text(name.partition("vmlinuz-")[2] + "\n")
        else:
            (to / name.rpartition("/")[2]).write_bytes(file.read())


def _files(apt, to, package, members):
    for name, file in apt.unpack(package, members):
        (to / name.rpartition("/")[2]).write_bytes(file.read())


def _xen(apt, to):
    for _, file in apt.unpack("xen-hypervisor-4.17-amd64", r"\./boot/xen-.*\.gz"):
        (to / "xen").write_bytes(gzip.decompress(file.read()))


def _busybox(apt, to):
    for _, file in apt.unpack("busybox-static", r"\./(usr/)?bin/busybox"):
        (to / "busybox").write_bytes(file.read())
        (to / "busybox").chmod(0o755)


def _zydis(apt, to):
    apt("apt-get", "source", "--download-only", "zydis")
    (archive,) = apt.directory.glob("zydis_*.orig.tar.*")
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            # Without the archive's top directory, whose name is a commit's.
            name = member.name.partition("/")[2]
            if member.isfile() and name.startswith(("include/", "src/", "LICENSE")):
                file = to / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(tar.extractfile(member).read())


def _installed(apt, to, *wanted):
    # As on a machine that has nothing yet: what is installed here must not count.
    nothing = apt.directory / "status"
    nothing.touch()
    planned = apt("apt-get", "-o", f"Dir::State::status={nothing}", "install", "-s", "--no-install-recommends",
        *wanted)
    packages = re.findall(r"^Inst (\S+)", planned, re.MULTILINE)
    apt("apt-get", "download", *packages)
    for package in packages:
        (archive,) = apt.directory.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, to], check=True)


def _fetched(path, what, fetch):
    """The path in the cache; `fetch` fills its directory when it is not there."""
    target = common.cache() / path
    if target.exists():
        return target
    cache = common.cache_directory()
    directory = cache / pathlib.Path(path).parts[0]
    with open(cache / "lock", "w") as lock:
        # Two commands at a time would fetch the same twice.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        _remove_left_overs(cache)
        with common.Step(f"fetching {what}"), _temporary(cache, "fetch.") as temporary:
            made = temporary / "made"
            made.mkdir()
            try:
                fetch(_apt(cache), made)
            except (common.Failure, OSError, ValueError, tarfile.TarError) as error:
                raise common.Failure(f"cannot fetch {what} into {cache} ({error}): is there a network?"
                    " Or copy that directory from another machine") from error
            if not (made / target.relative_to(directory)).exists():
                raise common.Failure(f"cannot fetch {what}: the package has not the expected content")
            shutil.rmtree(directory, ignore_errors=True)
            made.rename(directory)
    return target


OWNER = "owner"  # this file within a temporary directory is locked by the process that uses it


@contextlib.contextmanager
def _temporary(cache, prefix):
    """A temporary directory in the cache, which the next command removes if this one is killed."""
    with tempfile.TemporaryDirectory(dir=cache, prefix=prefix) as directory:
        with open(pathlib.Path(directory, OWNER), "w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            yield pathlib.Path(directory)


def _remove_left_overs(cache):
    """Removes what killed commands left behind. The cache must be locked."""
    for directory in [*cache.glob("fetch.*"), *cache.glob("apt.*")]:
        try:
            with open(directory / OWNER) as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass
        except OSError:
            continue  # in use
        shutil.rmtree(directory, ignore_errors=True)


_apt_in_use = None


def _apt(cache):
    """One set of lists per run; they are gone with it."""
    global _apt_in_use
    if _apt_in_use is None:
        keeper = contextlib.ExitStack()
        atexit.register(keeper.close)
        _apt_in_use = _Apt(keeper.enter_context(_temporary(cache, "apt.")))
    return _apt_in_use


FETCHERS = {"zydis": zydis, "busybox": busybox, "kexec-tools": kexec_tools,
    "memtest86+": lambda: memtest("x64"), "xen": xen, **{k: (lambda k=k: kernel(k)) for k in KERNELS}}

# Large, and needed by tests that run on request only.
ON_REQUEST = {REAL_TIME_KERNEL: lambda: kernel(REAL_TIME_KERNEL), "debian-installer": lambda: installer()[1]}


def everything():
    """Fetches what is not there yet."""
    for fetch in FETCHERS.values():
        fetch()
    for package in KERNELS:
        kernel_modules(package)
        kernel_modules(package, NETWORK_MODULES)
    for names in (E1000E_MODULES, SATA_MODULES):
        kernel_modules(GENERAL_KERNEL, names)


def main(arguments):
    known = {**FETCHERS, **ON_REQUEST}
    unknown = [a for a in arguments if a not in known]
    if unknown:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for name in arguments or FETCHERS:
            print(known[name]())
    except common.Failure as failure:
        print(f"fetch.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
