"""Kernels for 64-bit Arm on whatever CPU this is, by the emulator Unicorn.

The emulated CPU sees this process's memory at its own addresses, so that a kernel gets the same
records as on a machine of its kind. Threads are not emulated.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import unicorn
from unicorn.arm64_const import (
    UC_ARM64_REG_CPACR_EL1,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_X0,
    UC_ARM64_REG_X30,
    UC_CPU_ARM64_MAX,
)

# Addresses where this process has no memory of its own.
CODE, STACK, END = 1 << 40, 2 << 40, 3 << 40
STACK_SIZE, PAGE = 1 << 20, 1 << 16

# The parts of an object file that are read, of the specifications of ELF and of its use for Arm.
SYMBOLS, RELOCATIONS = 2, 4
IN_MEMORY, EXECUTABLE = 2, 4
JUMP26, CALL26 = 282, 283
PARTS_OF_ADDRESSES = {263: 0, 264: 0, 265: 16, 266: 16, 267: 32, 268: 32, 269: 48}
PAGE_OF_ADDRESS = 275
WITHIN_PAGE = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}  # in units of 2 ** n bytes


class Section(NamedTuple):
    """A line of an object file's table of sections."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    target: int
    alignment: int
    entry_size: int


class Emulator:
    """A CPU with memory."""

    def __init__(self) -> None:
        self.cpu = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self.cpu.ctl_set_cpu_model(UC_CPU_ARM64_MAX)
        self.cpu.reg_write(UC_ARM64_REG_CPACR_EL1, 3 << 20)  # vector registers may be used
        self.cpu.mem_map(STACK - STACK_SIZE, STACK_SIZE)
        self.cpu.mem_map(END, PAGE)
        self.free = CODE
        missing = unicorn.UC_HOOK_MEM_READ_UNMAPPED | unicorn.UC_HOOK_MEM_WRITE_UNMAPPED
        self.cpu.hook_add(missing, self._share)

    def _share(self, cpu: unicorn.Uc, kind: int, address: int, size: int, *_: object) -> bool:
        """Show the CPU the memory of this process around an address."""
        for page in {place // PAGE * PAGE for place in (address, address + size - 1)}:
            cpu.mem_map_ptr(page, PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE, page)
        return True

    def load(self, compiled: bytes) -> dict[str, int]:
        """Bring an object file into memory.

        Args:
            compiled: The file.

        Returns:
            The addresses of its functions by name.
        """
        (table,) = struct.unpack_from("<Q", compiled, 40)
        (count,) = struct.unpack_from("<H", compiled, 60)
        sections = [
            Section(*struct.unpack_from("<IIQQQQIIQQ", compiled, table + 64 * number))
            for number in range(count)
        ]
        image = bytearray()
        places: dict[int, int] = {}
        for number, section in enumerate(sections):
            if section.flags & IN_MEMORY:
                image += bytes(-len(image) % section.alignment)
                places[number] = self.free + len(image)
                image += compiled[section.offset : section.offset + section.size]
        addresses, functions = self._symbols(compiled, sections, places)
        for section in sections:
            if section.kind == RELOCATIONS and sections[section.target].flags & EXECUTABLE:
                for start in range(section.offset, section.offset + section.size, 24):
                    at, which, more = struct.unpack_from("<QQq", compiled, start)
                    place = places[section.target] + at
                    goal = addresses[which >> 32] + more
                    offset = place - self.free
                    (word,) = struct.unpack_from("<I", image, offset)
                    word |= _part(which & 0xFFFFFFFF, place, goal)
                    struct.pack_into("<I", image, offset, word)
        size = -(-len(image) // PAGE) * PAGE
        self.cpu.mem_map(self.free, size)
        self.cpu.mem_write(self.free, bytes(image))
        self.free += size
        return functions

    def _symbols(
        self, compiled: bytes, sections: list[Section], places: dict[int, int]
    ) -> tuple[list[int], dict[str, int]]:
        """The addresses of all symbols, and those of the named ones by name."""
        (symbols,) = (section for section in sections if section.kind == SYMBOLS)
        strings = sections[symbols.link].offset
        addresses: list[int] = []
        named: dict[str, int] = {}
        for start in range(symbols.offset, symbols.offset + symbols.size, 24):
            name, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", compiled, start)
            addresses.append(places.get(section, 0) + value)
            end = compiled.index(b"\0", strings + name)
            named[compiled[strings + name : end].decode()] = addresses[-1]
        return addresses, named

    def call(self, function: int, argument: int) -> None:
        """Run a function.

        Args:
            function: Its address.
            argument: Its argument.
        """
        self.cpu.reg_write(UC_ARM64_REG_SP, STACK)
        self.cpu.reg_write(UC_ARM64_REG_X0, argument)
        self.cpu.reg_write(UC_ARM64_REG_X30, END)  # where it returns to
        self.cpu.emu_start(function, END)


def _part(kind: int, place: int, goal: int) -> int:
    """What of an address belongs into an instruction."""
    if kind in (JUMP26, CALL26):
        return (goal - place) // 4 & (1 << 26) - 1
    if kind == PAGE_OF_ADDRESS:
        pages = (goal >> 12) - (place >> 12)
        return (pages & 3) << 29 | (pages >> 2 & (1 << 19) - 1) << 5
    if kind in WITHIN_PAGE:
        return (goal & 0xFFF) >> WITHIN_PAGE[kind] << 10
    return (goal >> PARTS_OF_ADDRESSES[kind] & 0xFFFF) << 5
