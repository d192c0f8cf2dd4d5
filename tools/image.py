#!/usr/bin/python3
"""Makes a boot image: a hybrid ISO that GRUB starts from CD or disk, on BIOS and UEFI.

The image holds the kernel and a list of boot modules, nothing else. Equal inputs give equal bits.

    image.py --kernel FILE [--module NAME=FILE …] [--arguments STRING] OUTPUT.iso
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import common

GRUB = pathlib.Path("/usr/lib/grub")
# Only what boot/grub.cfg and finding it need.
GRUB_MODULES = ["iso9660", "normal", "search", "search_fs_file", "multiboot2", "boot", "serial", "terminal"]
GRUB_MODULES += ["terminfo", "echo", "reboot"]
BIOS_MODULES = ["biosdisk"]
EFI_MODULES = ["part_gpt", "part_msdos"]
MODULE_NAME = re.compile(r"[A-Za-z0-9._-]+")
VOLUME = "MARGAY"


def _run(command, **options):
    """Runs a tool; what it says is shown only when it fails."""
    environment = dict(os.environ, SOURCE_DATE_EPOCH=str(common.EPOCH), TZ="UTC", LC_ALL="C")
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        **options,
    )
    if done.returncode != 0:
        raise common.Failure(f"{command[0]} failed:\n{done.stdout.strip()}")


def _loaders():
    """The directory with GRUB for BIOS and for UEFI; made once per version of GRUB.

    Both have the same small start-up configuration built in: find the file system with our kernel
    and go on with grub.cfg there. So the images themselves never differ.
    """
    early = "search --no-floppy --file --set=root /boot/margay/ukernel\nset prefix=($root)/boot/grub\n"
    stamp = "\n".join(
        [early, str(GRUB_MODULES + BIOS_MODULES + EFI_MODULES)]
        + [str((GRUB / p / "kernel.img").stat().st_mtime) for p in ("i386-pc", "x86_64-efi")]
    )
    directory = common.cache() / "grub"
    if (directory / "stamp").exists() and (directory / "stamp").read_text() == stamp:
        return directory

    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as made:
        made = pathlib.Path(made)
        (made / "early.cfg").write_text(early)
        for platform, output, modules in (
            ("i386-pc-eltorito", "bios.img", BIOS_MODULES),
            ("x86_64-efi", "bootx64.efi", EFI_MODULES),
        ):
            _run(
                ["grub-mkimage", "-O", platform, "-o", made / output, "-p", "/boot/grub"]
                + ["-c", made / "early.cfg", *GRUB_MODULES, *modules]
            )
        # The EFI system partition: FAT, just large enough.
        kib = (made / "bootx64.efi").stat().st_size // 1024 + 128
        with open(made / "efi.img", "wb") as file:
            file.truncate(kib * 1024)
        efi = ["-i", made / "efi.img"]
        _run(["mformat", *efi, "-h", 1, "-s", 1, "-t", kib * 2, "-N", "4d415247", "-v", VOLUME, "::"])
        _run(["mmd", *efi, "::/EFI", "::/EFI/BOOT"])
        os.utime(made / "bootx64.efi", (common.EPOCH, common.EPOCH))
        _run(["mcopy", "-m", *efi, made / "bootx64.efi", "::/EFI/BOOT/BOOTX64.EFI"])
        shutil.copy(GRUB / "i386-pc" / "boot_hybrid.img", made)
        (made / "stamp").write_text(stamp)
        # Another process may have made the same meanwhile; either is as good.
        shutil.rmtree(directory, ignore_errors=True)
        try:
            shutil.copytree(made, directory)
        except FileExistsError:
            pass
    return directory


def make(output, kernel, modules, arguments=""):
    """Writes the image.

    kernel: file with the kernel. modules: [(name, file or bytes)] in boot order. arguments: the
    kernel's command line.
    """
    loaders = _loaders()
    output = pathlib.Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    names = [name for name, _ in modules]
    for name in names:
        if not MODULE_NAME.fullmatch(name):
            raise common.Usage(f"boot module name '{name}': use letters, digits, and . _ -")
        if names.count(name) > 1:
            raise common.Usage(f"boot module name '{name}': given twice")
        if name == "ukernel":
            raise common.Usage("boot module name 'ukernel': that is the kernel's own")
    if re.search(r"[\n\"'\\${};]", arguments):
        raise common.Usage("kernel arguments: GRUB would interpret one of these characters")

    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        lines = "\n".join(f"module2 /boot/margay/{name} {name}" for name in names)
        configuration = (common.ROOT / "boot" / "grub.cfg").read_text()
        # The template's own comment names the markers as well; replace whole lines only.
        configuration = re.sub(r"(?m)^@MODULES@$", lambda _: lines, configuration)
        configuration = configuration.replace(" @ARGUMENTS@", f" {arguments}".rstrip())
        (temporary / "grub.cfg").write_text(configuration)

        grafts = [
            f"boot/grub/grub.cfg={temporary / 'grub.cfg'}",
            f"boot/grub/bios.img={loaders / 'bios.img'}",
            f"boot/margay/ukernel={pathlib.Path(kernel).resolve()}",
        ]
        for name, content in modules:
            if isinstance(content, bytes):
                file = temporary / f"module.{name}"
                file.write_bytes(content)
            else:
                file = common.readable_file(content, f"boot module {name}").resolve()
            grafts.append(f"boot/margay/{name}={file}")
        # Written under a temporary name: an image of that name may be in use by a running node.
        partial = _partial(output)
        try:
            _run(
                ["xorriso", "-as", "mkisofs", "-quiet", "-o", partial, "-V", VOLUME, "-R", "-graft-points"]
                + ["--modification-date=2023111422132000", "--set_all_file_dates", "set_to_mtime"]
                + ["-uid", 0, "-gid", 0, "-file-mode", "0444", "-dir-mode", "0555"]
                + ["-b", "boot/grub/bios.img", "-no-emul-boot", "-boot-load-size", 4]
                + ["-boot-info-table", "--grub2-boot-info"]
                + ["--grub2-mbr", loaders / "boot_hybrid.img"]
                + ["--gpt_disk_guid", "4d617267617920626f6f7420696d6167"]
                + ["-append_partition", 2, "0xef", loaders / "efi.img", "-appended_part_as_gpt"]
                + ["-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
                + grafts
                # The directories that grafting creates would have the time of their creation.
                + ["--", "-alter_date_r", "b-c", f"={common.EPOCH}", "/", "--"]
            )
            partial.replace(output)
        finally:
            partial.unlink(missing_ok=True)
    return output


def _partial(output):
    return output.with_name(f".{output.name}.{os.getpid()}")


def check_output(output):
    """Whether an image can be written there: said before the long part."""
    if output.is_dir():
        raise common.Usage(f"image {output}: a directory; name a file in it")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _partial(output).touch()
        _partial(output).unlink()
    except OSError as error:
        # Something that is none is where a directory would be.
        reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise common.Usage(f"image {output}: {reason}") from None


def manifest(**changes):
    """The text of boot/manifest.json with the values of single keys changed, comments kept.

    A change to None removes the key.
    """
    import json

    text = (common.ROOT / "boot" / "manifest.json").read_text()
    for key, value in changes.items():
        entry = re.compile(rf'(?m)^(\s*"{re.escape(key)}": )("(?:[^"\\]|\\.)*"|[^",\n]+)(,?)$')
        if len(entry.findall(text)) != 1:
            raise ValueError(f"boot/manifest.json has not exactly one line with the key {key}")
        if value is None:
            text = entry.sub("", text)
        else:
            text = entry.sub(lambda found: found[1] + json.dumps(value) + found[3], text)
    return text.encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kernel", required=True, metavar="FILE")
    parser.add_argument("--module", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--arguments", default="", metavar="STRING")
    parser.add_argument("output", metavar="OUTPUT.iso")
    options = parser.parse_args()
    modules = []
    for module in options.module:
        name, equals, file = module.partition("=")
        if not equals:
            parser.error(f"--module {module}: want NAME=FILE")
        modules.append((name, file))
    try:
        kernel = common.readable_file(options.kernel, "kernel")
        make(options.output, kernel, modules, options.arguments)
    except common.Failure as failure:
        print(f"image.py: {failure}", file=sys.stderr)
        return 2 if isinstance(failure, common.Usage) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
