"""Which shared libraries a program asks for, read from its own file (ELF, 64 bit, little endian).

`ldd` would run the program, `objdump` would be one more tool to require. Structures: the "System V
Application Binary Interface", chapters "ELF Header" and "Dynamic Linking". Next to read: system.py.
"""

import struct

_PROGRAM_LOAD, _PROGRAM_DYNAMIC, _PROGRAM_INTERPRETER = 1, 2, 3
_TAG_NEEDED, _TAG_STRING_TABLE = 1, 5


def needed_libraries(content: bytes) -> list[str]:
    """Return the libraries (and the loader) that an ELF file needs; none when it is static."""
    offset, size, count = (
        struct.unpack_from("<Q", content, 32)[0],
        *struct.unpack_from("<HH", content, 54),
    )
    segments = [
        struct.unpack_from("<IIQQQQ", content, offset + number * size) for number in range(count)
    ]
    loads = [segment for segment in segments if segment[0] == _PROGRAM_LOAD]
    names: list[str] = []
    for kind, _, start, _, _, length in segments:
        if kind == _PROGRAM_INTERPRETER:
            names.append(content[start : start + length].rstrip(b"\0").decode().rsplit("/", 1)[-1])
        elif kind == _PROGRAM_DYNAMIC:
            tags = [
                struct.unpack_from("<QQ", content, at) for at in range(start, start + length, 16)
            ]
            strings = next((value for tag, value in tags if tag == _TAG_STRING_TABLE), 0)
            table = _file_offset(loads, strings)
            names.extend(
                _string(content, table + value) for tag, value in tags if tag == _TAG_NEEDED
            )
    return names


def _file_offset(loads: list[tuple[int, ...]], address: int) -> int:
    for _, _, offset, start, _, length in loads:
        if start <= address < start + length:
            return offset + address - start
    raise ValueError("the file's dynamic section points outside of it")


def _string(content: bytes, start: int) -> str:
    return content[start : content.index(b"\0", start)].decode()
