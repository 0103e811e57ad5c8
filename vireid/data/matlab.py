"""MATLAB 5 files, the format of SYSU-MM01's lists and gallery permutations: real numbers, and cells of them.

SciPy's reader can take the process down on a single flipped bit; this one checks every size and raises.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15  # kinds of elements besides numbers
_CELL, _COMPLEX = 1, 0x800  # class and flag of a matrix
_LARGEST = 2**26  # bytes of a file or of an unpacked element; the official files have 0.3 MB
_DEEPEST = 4  # levels of cells in cells; the official files have two

_Array = NDArray[Any]


def read_matlab(path: Path) -> dict[str, _Array]:
    """Read the variables of a MATLAB 5 file; cells become arrays of objects.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, larger than 64 MB, of another version, or holds anything but real numbers
            and cells.
    """
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    try:
        return dict(_variables(content))
    except (ValueError, LookupError, struct.error, zlib.error) as error:
        raise ValueError(f"path must be a readable .mat file, got {str(path)!r}. {error}") from error


def write_matlab(name: str, cells: Sequence[Sequence[_Array]]) -> bytes:
    """Write one column of cells, each a column of cells with a matrix of unsigned 16-bit integers.

    SciPy writes such files too, but adds the time of writing to them.
    """

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    def array(kind: int, shape: tuple[int, ...], content: bytes, name: str = "") -> bytes:
        flags = element(6, struct.pack("<II", kind, 0))
        return element(_MATRIX, flags + element(5, struct.pack("<II", *shape)) + element(1, name.encode()) + content)

    def matrix(values: _Array) -> bytes:
        return array(11, values.shape, element(4, values.astype("<u2").tobytes("F")))

    columns = [array(_CELL, (len(column), 1), b"".join(map(matrix, column))) for column in cells]
    header = b"MATLAB 5.0 MAT-file, drawn by vireid".ljust(124) + struct.pack("<H2s", 0x0100, b"IM")
    return header + array(_CELL, (len(cells), 1), b"".join(columns), name)


def _variables(content: bytes) -> Iterator[tuple[str, _Array]]:
    if len(content) > _LARGEST:
        raise ValueError(f"It has more than {_LARGEST} bytes.")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128], "")
    if not order or struct.unpack_from(f"{order}H", content, 124) != (0x0100,):
        raise ValueError("It has no header of MATLAB 5; save it with save('-v7', ...).")
    for kind, element in _elements(memoryview(content)[128:], order):
        if kind == _COMPRESSED:
            stream = zlib.decompressobj()
            unpacked = memoryview(stream.decompress(element, _LARGEST))
            if not stream.eof:
                raise ValueError("A compressed variable is cut off or too large.")
            [(_, variable)] = _elements(unpacked, order)
            yield _matrix(variable, order, _DEEPEST)
        else:
            yield _matrix(element, order, _DEEPEST)


def _elements(content: memoryview, order: str) -> list[tuple[int, memoryview]]:
    """The kind and content of each element of a sequence."""
    elements, start = [], 0
    while start < len(content):
        kind, length = struct.unpack_from(f"{order}II", content, start)
        head = 8
        if kind >> 16:  # up to four bytes stand in place of their length
            kind, length, head = kind & 0xFFFF, kind >> 16, 4
        end = start + head + length
        if end > len(content) or (head == 4 and length > 4):
            raise ValueError("An element is longer than its place.")
        elements.append((kind, content[start + head : end]))
        start = end if kind == _COMPRESSED else end + -end % 8
    return elements


def _matrix(content: memoryview, order: str, depth: int) -> tuple[str, _Array]:
    """The name and the values of a matrix; ``depth`` more levels may follow."""
    if not content:
        return "", np.empty((0, 0))
    elements = _elements(content, order)
    flags, shape, name = (_numbers(*element, order) for element in elements[:3])
    lengths = [int(length) for length in shape]
    if int(flags[0]) & _COMPLEX or min(lengths, default=-1) < 0 or not depth:
        raise ValueError("A variable is complex, of negative size or nested too deeply.")
    kind = int(flags[0]) & 0xFF
    if kind == _CELL:
        values = np.empty(len(elements) - 3, object)
        for i, (_, cell) in enumerate(elements[3:]):
            values[i] = _matrix(cell, order, depth - 1)[1]
    elif 6 <= kind <= 15:
        [values] = (_numbers(*element, order) for element in elements[3:])
    else:
        raise ValueError(f"A variable is of class {kind}: neither numbers nor cells.")
    if math.prod(lengths) != len(values):
        raise ValueError(f"A variable of size {lengths} has {len(values)} values.")
    return bytes(name).decode("ascii", "replace"), values.reshape(lengths, order="F")


def _numbers(kind: int, content: memoryview, order: str) -> _Array:
    return np.frombuffer(content, f"{order}{_NUMBERS[kind]}")
