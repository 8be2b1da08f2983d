"""Copies the files that a Python program needs from a base image into a folder: `python images/minimal.py FOLDER`.

The folder becomes the root of the image variant `minimal`, which has no shell, no package manager and no other program
than the interpreter. Its files have the same paths as in the base: the interpreter, the standard library, the shared
libraries of both and of the environment that runs this program, the certificates of public CAs, and time zones.
"""

import os
import shutil
import ssl
import struct
import subprocess
import sys
import sysconfig
import zoneinfo
from collections.abc import Iterator
from pathlib import Path

STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
LEFT_OUT = frozenset(
    {"dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tkinter", "turtledemo"}
)
"""Parts of the standard library that no worker needs; ensurepip contains an installer."""
LEFT_OUT_BEGINNINGS = ("config-", "_tkinter.", "_test", "_ctypes_test", "_xxtest", "xxlimited")
WHEELS_EXPECT = (
    *("libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libnsl.so.1", "libpthread.so.0", "libresolv.so.2", "librt.so.1"),
    *("libstdc++.so.6", "libutil.so.1"),
)
"""Libraries that a wheel for Linux takes from the system. glibc itself loads libgcc_s when a thread ends."""
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\ndistq:x:65532:65532:distq:/tmp:/sbin/nologin\n",
    "etc/group": "root:x:0:\ndistq:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
MORE_FILES = ("/etc/ld.so.cache", "/etc/os-release", "/etc/protocols", "/etc/services")
PT_INTERP = 3


class Root:
    """The folder that becomes the root of an image."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: set[Path] = set()
        """The copied files, by their path in the base without symbolic links."""

    def take(self, path: Path) -> None:
        """Copy a file, a link with its target, or a folder; the links in its path are copied as links."""
        taken = Path("/")
        parts = list(path.parts[1:])
        while parts:
            taken /= parts.pop(0)
            if taken.is_symlink():
                link, target = self._folder / taken.relative_to("/"), taken.readlink()
                if not link.is_symlink():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(target)
                parts = [*Path(os.path.normpath(taken.parent / target)).parts[1:], *parts]
                taken = Path("/")
        if taken.is_dir():
            for inner in sorted(taken.iterdir()):
                if inner.name not in LEFT_OUT and not inner.name.startswith(LEFT_OUT_BEGINNINGS):
                    self.take(inner)
        elif taken.is_file() and taken not in self.files:
            self.files.add(taken)
            copy = self._folder / taken.relative_to("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(taken, copy)

    def write(self, name: str, text: str) -> None:
        """Write a file that the base lacks or has otherwise."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def loader_of(program: Path) -> Path:
    """Return the dynamic loader that a 64-bit program names."""
    content = program.read_bytes()
    (headers_at,), (size, count) = struct.unpack_from("<Q", content, 32), struct.unpack_from("<HH", content, 54)
    for at in range(headers_at, headers_at + size * count, size):
        if struct.unpack_from("<I", content, at) == (PT_INTERP,):
            (begin,), (length,) = struct.unpack_from("<Q", content, at + 8), struct.unpack_from("<Q", content, at + 32)
            return Path(os.fsdecode(content[begin : begin + length].rstrip(b"\0")))
    raise SystemExit(f"{program} has no dynamic loader, so its shared libraries are unknown.")


def programs(top: Path) -> Iterator[Path]:
    """Yield the programs and libraries below a folder."""
    for path in top.rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.name.startswith(LEFT_OUT_BEGINNINGS):
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def libraries(loader: Path, program: Path) -> Iterator[Path]:
    """Yield the shared libraries that a program loads at its start; a static program loads none."""
    listed = subprocess.run([loader, "--list", program], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        name, _, found = line.strip().partition(" => ")
        if found == "not found":  # a module that does not work in the base either
            print(f"{program} needs {name}, which the base lacks.", file=sys.stderr)
        elif (path := Path((found or name).rpartition(" (")[0])).is_absolute():
            yield path


def owners(files: set[Path]) -> Iterator[tuple[str, str]]:
    """Yield name and description of the Debian packages that own a copied file."""
    names = {
        listed.stem.partition(":")[0]
        for listed in Path("/var/lib/dpkg/info").glob("*.list")
        if any(Path(line).resolve() in files for line in listed.read_text(encoding="utf-8").splitlines())
    }
    status = Path("/var/lib/dpkg/status")
    for entry in status.read_text(encoding="utf-8").split("\n\n") if status.is_file() else ():
        name = entry.partition("\n")[0].removeprefix("Package: ")
        if name in names:
            yield name, entry.strip() + "\n"


def take_python(root: Root, environment: Path) -> None:
    """Copy the interpreter, its standard library, and the libraries of both and of the environment's modules."""
    interpreter = Path(sys.executable)
    while interpreter.is_relative_to(environment):  # another step copies the environment
        interpreter = interpreter.parent / interpreter.readlink()
    loader = loader_of(interpreter.resolve())
    for path in (interpreter, loader, STANDARD_LIBRARY):
        root.take(path)
    needed = {interpreter.resolve(), *programs(STANDARD_LIBRARY), *programs(environment)}
    found = {library for program in sorted(needed) for library in libraries(loader, program)}
    folders = {library.parent for library in found if library.name.startswith("libc.")}
    found |= {folder / name for folder in folders for name in WHEELS_EXPECT}
    for library in sorted(found):
        if library.exists() and not library.is_relative_to(environment):
            root.take(library)


def main(folder: Path) -> None:
    """Copy all that the image needs from the base, except the environment."""
    root = Root(folder)
    take_python(root, Path(sys.prefix))
    authorities = ssl.get_default_verify_paths()
    for name in (authorities.openssl_cafile, authorities.openssl_capath, *zoneinfo.TZPATH, *MORE_FILES):
        if Path(name).exists():
            root.take(Path(name))
    for name, description in owners(root.files):
        # Where scanners look for the packages of an image without dpkg.
        root.write(f"var/lib/dpkg/status.d/{name}", description)
        root.take(Path(f"/usr/share/doc/{name}/copyright"))
    for name, text in ACCOUNTS.items():
        root.write(name, text)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
