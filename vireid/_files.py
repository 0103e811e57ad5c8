"""Files that are written whole and verified when they are read.

The checksum is the text ``vireid.checksum`` followed by ``vireid-sha256:`` and 64 digits, the SHA-256 of the file with
zeros in their place. It is an entry of the metadata of a safetensors file, an entry of a JSON file, or the comment of a
zip archive, so that other programs read the files as before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import platform
import secrets
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor, nn

from vireid._checks import check_type, require

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be deleted
    fcntl = None  # type: ignore[assignment]

CHECKSUM = "vireid.checksum"
_PREFIX = "vireid-sha256:"
UNSEALED = _PREFIX + 64 * "0"  # write_file turns these zeros into the checksum
_LARGEST_JSON = 2**24  # bytes
_ABANDONED = 3600.0  # seconds after which an unfinished file belongs to nobody, where there are no locks


def write_file(path: str | os.PathLike[str], write: Callable[[Path], None]) -> None:
    """Write a file whole, with the rights of the umask; an error or a kill leaves an earlier file as it was.

    Unfinished files that killed processes have left in the folder are removed.

    Args:
        path: Path of the file; its folder is made if need be.
        write: Function that writes to the path that it is given. :data:`UNSEALED` in the file becomes its checksum.

    Raises:
        OSError: If the file cannot be written, for want of space or of permission.
    """
    check_type("path", path, (str, os.PathLike), "be a path")
    path = Path(path)
    unfinished = path.parent / f".{secrets.token_hex(8)}{_ending()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _writing_in(path.parent):
            try:
                rights = _create(unfinished)
                write(unfinished)
                unfinished.chmod(rights)  # safetensors makes a file of its own
                with unfinished.open("r+b") as file:
                    _seal(file)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(path)
            finally:
                with contextlib.suppress(OSError):
                    unfinished.unlink()
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:  # torch raises RuntimeError on a full disk
        raise OSError(f"path must be a file that can be written, got {str(path)!r}: {error}.") from error


def check_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file has a checksum, which then must fit.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has a checksum that does not fit.
    """
    check_type("path", path, (str, os.PathLike), "be a path")
    require(Path(path).is_file(), "path", "be a file", str(path), error=FileNotFoundError)
    with Path(path).open("rb") as file:
        place, expected, found = _checksum(file)
    remedy = "Copy or write it again; to use a JSON file that you have edited, delete the line of its checksum."
    require(expected == found, "path", "be an undamaged file", str(path), remedy)
    return place >= 0


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata to a safetensors file, whole and with a checksum.

    Raises:
        OSError: If the file cannot be written, for want of space or of permission.
    """
    owners = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    written = {}
    for name, tensor in tensors.items():
        shared = owners[tensor.untyped_storage().data_ptr()] > 1  # safetensors refuses what goes by two names
        written[name] = (tensor.detach().clone() if shared else tensor.detach()).cpu().contiguous()
    sealed = {"format": "pt", **metadata, CHECKSUM: UNSEALED}
    write_file(path, lambda file: safetensors.torch.save_file(written, file, sealed))


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and metadata of a safetensors file, to the CPU; a checksum is verified if there is one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or something else.
    """
    check_file(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
    except safetensors.SafetensorError as error:
        raise ValueError(f"path must be a whole safetensors file, got {str(path)!r}: {error}.") from error
    metadata.pop(CHECKSUM, None)
    return tensors, metadata


def save_rows(path: str | os.PathLike[str], rows: Tensor, names: Sequence[str], metadata: Mapping[str, str]) -> None:
    """Write rows n d, such as embeddings, with their names n to a safetensors file, whole and with a checksum.

    Raises:
        OSError: If the file cannot be written, for want of space or of permission.
    """
    encoded = torch.frombuffer(bytearray(json.dumps(list(names)).encode()), dtype=torch.uint8)
    save_tensors(path, {"embeddings": rows, "names": encoded}, metadata)


def load_rows(
    path: str | os.PathLike[str], metadata: Mapping[str, str], writer: str
) -> tuple[Tensor, list[str], dict[str, str]]:
    """Read the rows of :func:`save_rows`, their names and the metadata, which must include those of the writer.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or something else.
    """
    tensors, found = load_tensors(path)
    remedy = f"{writer} writes one."
    written = found.items() >= metadata.items()
    require(written, "path", f"be a file of {writer}", f"{path}, {found}", f"One has {dict(metadata)}.")
    require(tensors.keys() == {"embeddings", "names"}, "path", "hold embeddings and names", sorted(tensors), remedy)
    rows = tensors["embeddings"]
    fits = rows.dtype == torch.float32 and rows.dim() == 2 and bool(rows.isfinite().all())
    require(fits, "path", "hold finite float32 rows n d", f"{rows.dtype}, {tuple(rows.shape)}", remedy)
    try:
        names = json.loads(tensors["names"].numpy().tobytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"path must hold names in JSON, got {str(path)!r}: {error}. {remedy}") from error
    strings = isinstance(names, list) and all(isinstance(name, str) for name in names)
    require(strings and len(names) == len(rows), "path", f"hold a name for each of {len(rows)} rows", str(path), remedy)
    return rows, names, found


def save_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write a dictionary to a JSON file, whole and with a checksum.

    Raises:
        OSError: If the file cannot be written, for want of space or of permission.
    """
    text = json.dumps({**values, CHECKSUM: UNSEALED}, indent=2) + "\n"

    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8")

    write_file(path, write)


def load_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the dictionary of a JSON file; a checksum is verified if there is one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, larger than 16 MiB, nested too deep, or holds something else.
    """
    check_file(path)
    size = Path(path).stat().st_size
    require(size <= _LARGEST_JSON, "path", f"be a JSON file of at most {_LARGEST_JSON} bytes", f"{path}, {size} bytes")
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"path must be a JSON file, got {str(path)!r}: {error}.") from error
    require(isinstance(values, dict), "path", "be a JSON file of a dictionary", f"{path}, {type(values).__name__}")
    values.pop(CHECKSUM, None)
    return values  # type: ignore[no-any-return]


def digest_weights(network: nn.Module) -> str:
    """Return 16 characters that tell the weights and buffers of a network, on any device and whatever wraps it."""
    digest = hashlib.sha256()
    for values in network.state_dict().values():  # without names, which wrappers extend
        if isinstance(values, Tensor):
            digest.update(f"{values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def lock_folder(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Lock a folder against other runs; the lock of a process that has ended, or was killed, is free.

    Only one process of a distributed run takes the lock. The folder holds a file ``.lock`` meanwhile.

    Args:
        folder: Folder of the run, which is made if need be.

    Raises:
        BlockingIOError: If another run holds the lock; the message names its process and machine.
        OSError: If the folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, lock_folder(folder):
        ...     print("training")
        training
    """
    check_type("folder", folder, (str, os.PathLike), "be a path")
    path = Path(folder, ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _lock(path)
    _held.add(file)
    try:
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
    finally:
        _held.discard(file)
        if fcntl is not None:  # while the lock is held, so that nobody else's file is deleted
            path.unlink(missing_ok=True)
        file.close()


def _ending() -> str:
    """The ending of unfinished files of this machine: only its own locks tell whether someone still writes them."""
    return f".{platform.node()}.unfinished"


@contextlib.contextmanager
def _writing_in(folder: Path) -> Iterator[None]:
    """Hold a shared lock on a folder, and force the folder to disk; without other holders its litter is removed."""
    litter = (folder / name for name in os.listdir(folder) if name.startswith(".") and name.endswith(_ending()))
    if fcntl is None:
        for path in litter:
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # someone writes here, or the file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in litter:
                path.unlink()
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
        with contextlib.suppress(OSError):  # some file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: Path) -> int:
    """Create an empty file and return its rights, which are those of the umask."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return os.fstat(descriptor).st_mode & 0o777
    finally:
        os.close(descriptor)


def _seal(file: BinaryIO) -> None:
    """Replace the zeros of :data:`UNSEALED`, if the file has them, with its checksum."""
    place, _, found = _checksum(file)
    if place >= 0:
        file.seek(place)
        file.write(found)


def _checksum(file: BinaryIO) -> tuple[int, bytes, bytes]:
    """The place of the checksum (-1 if there is none), what stands there, and what should stand there.

    Either of the two words tells that there is a checksum, so that damage to one does not make a file pass.
    """
    if not os.fstat(file.fileno()).st_size:
        return -1, b"", b""
    word, prefix = CHECKSUM.encode(), _PREFIX.encode()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as data:
        place = data.find(word)
        place = data.find(prefix, place) if place >= 0 else data.find(prefix)
        if place < 0:
            return (-1, b"", b"") if data.find(word) < 0 else (-1, b"", b"a checksum")
        digits = slice(place + len(prefix), place + len(prefix) + 64)
        expected = data[digits]
        data[digits] = len(expected) * b"0"
        return digits.start, expected, hashlib.sha256(data).hexdigest().encode()


_held: set[IO[str]] = set()  # the locks of this process


def _lock(path: Path) -> IO[str]:
    """Open and lock a file, or tell who has."""
    if fcntl is None:
        with contextlib.suppress(PermissionError, FileExistsError):  # while another process has it open
            path.unlink(missing_ok=True)
            return path.open("x+", encoding="utf-8")
    while fcntl is not None:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            break
        except OSError as error:
            warnings.warn(f"{path.parent} cannot be locked against other runs: {error}.", stacklevel=4)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # its owner has just deleted it
    holder = "another process"
    with contextlib.suppress(OSError):
        holder = path.read_text(encoding="utf-8") or holder
    found = f"got {str(path.parent)!r}, which is in use by {holder}"
    raise BlockingIOError(f"folder must be free, {found}. Wait for it, or choose another folder.")


def _release_in_child() -> None:
    """Close the locks that a forked worker inherits, for it may outlive a killed run."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
