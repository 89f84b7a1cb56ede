"""Every exception class of anyrnn.

All derive from `AnyrnnError`, so that `except anyrnn.AnyrnnError` catches whatever a user's own
input can cause. Each also derives from the built-in exception that PyTorch or Python raises in the
same place, so that code written for them keeps working.
"""

import re
import reprlib
from collections.abc import Callable

# The name of an option in a message, perhaps with a value: control characters that no name has.
_NAMED = re.compile("\x02([^\x02\x03\x1f]+)(?:\x1f([^\x02\x03\x1f]*))?\x03")
# A value in a message, as Python writes it and as files of options do.
_VALUE = re.compile("\x02\x1f([^\x02\x03\x1f]*)\x1f([^\x02\x03\x1f]*)\x03")


def option_name(name: str, value: object = None) -> str:
    """The name of an option within a message of an `AnyrnnError`.

    The message shows it as Python has it, and the command line as a flag.

    Args:
        name: The name, perhaps with its group: "skip_bad", "training.epochs".
        value: The value that is advised.

    Example:
        >>> error = AnyrnnError(f"leave them out with {option_name('skip_bad', True)}")
        >>> print(error)
        leave them out with skip_bad=True
        >>> error.told(lambda name: f"--{name}")
        'leave them out with --skip_bad'
    """
    return f"\x02{name}\x03" if value is None else f"\x02{name}\x1f{value}\x03"


def option_value(value: object) -> str:
    """The value of an option within a message of an `AnyrnnError`.

    The message shows it as Python writes it, and the command line as files of options do.

    Args:
        value: The value; of a long one the beginning and the end are shown.

    Example:
        >>> error = AnyrnnError(f"it is {option_value([None, True])}")
        >>> print(error)
        it is [None, True]
        >>> error.told(str)
        'it is [null, true]'
    """
    return f"\x02\x1f{reprlib.repr(value)}\x1f{_InFiles().repr(value)}\x03"


class _InFiles(reprlib.Repr):
    """Values as YAML and JSON write them, where Python differs."""

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: N802
        return "null"

    def repr_bool(self, value: bool, level: int) -> str:
        return "true" if value else "false"


class AnyrnnError(Exception):
    """The base of all exceptions of anyrnn: a mistake in what the user gave, said in one line.

    Attributes:
        exit_code: What the command line ends with.
    """

    exit_code = 2

    @property
    def message(self) -> str:
        """The message for another message, in which the names of options are still marked."""
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()

    def __str__(self) -> str:
        """The message with the names of options as Python has them."""
        return _NAMED.sub(
            lambda found: found[1] if found[2] is None else f"{found[1]}={found[2]}",
            _VALUE.sub(lambda value: value[1], self.message),
        )

    def renamed(self, name: Callable[[str], str]) -> "AnyrnnError":
        """The error itself, with other names of options in its message."""
        self.args = (_NAMED.sub(lambda found: option_name(name(found[1]), found[2]), self.message),)
        return self

    def told(self, flag: Callable[[str], str]) -> str:
        """The message with the names of options as flags, and their values as in files.

        Args:
            flag: The flag of an option of a name.
        """

        def shown(found: re.Match[str]) -> str:
            name = flag(found[1])
            if found[2] == "False" and name.startswith("--"):
                return name.replace("--", "--no-", 1)
            return name if found[2] in (None, "True") else f"{name} {found[2]}"

        return _NAMED.sub(shown, _VALUE.sub(lambda value: value[2], self.message))


class CellError(AnyrnnError, TypeError):
    """The equations of a cell cannot be read: an unknown function, a branch on a value, a wrong
    result.
    """


class SizeError(AnyrnnError, ValueError):
    """Two sizes disagree, or a size is missing, zero or negative."""


class UnknownCellError(AnyrnnError, KeyError):
    """No cell of that name in the catalogue."""


class InputError(AnyrnnError, ValueError, RuntimeError):
    """A tensor given to a layer has the wrong shape, type, device or length.

    Both a `ValueError` and a `RuntimeError`, because `torch.nn` raises one or the other for the
    same mistakes.
    """


class ArrayError(InputError):
    """An array is not what kernels, which read it by its address, were made for.

    Args:
        kind: What it is: a parameter, a state, ...
        name: What it is called.
        problem: What is wrong with it, and what was expected.
    """

    def __init__(self, kind: str, name: str, problem: str) -> None:
        self.kind, self.name, self.problem = kind, name, problem

    @property
    def message(self) -> str:
        """One sentence."""
        return f"the {self.kind} {self.name} {self.problem}"


class VerificationError(AnyrnnError, AssertionError):
    """A graph breaks its own rules: a mistake in anyrnn, not in the user's input. Please report
    it.
    """


class MissingExtraError(AnyrnnError, ImportError):
    """A library that this part needs is not installed; the message says which extra brings it."""


class OptionError(AnyrnnError, ValueError, TypeError):
    """An option is unknown or missing, has the wrong type, or is none of its choices.

    Both a `ValueError` and a `TypeError`, as Python raises for arguments.
    """


class DataError(AnyrnnError, ValueError):
    """A data file is missing, empty, damaged or lacks a column."""


class RunError(AnyrnnError, ValueError):
    """A run folder exists already, is damaged, or is none."""


class WriteError(RunError):
    """A file of a run cannot be written: the disk is full, or access is denied. What was written
    before is as it was.
    """


class ProcessError(RunError):
    """Of several processes that train together one was killed, or cannot be reached."""


class DivergedError(RunError):
    """The figures of a training are no numbers any more."""


class StorageError(RunError):
    """The storage of a study cannot be reached, or holds something else."""


class UnusedParameterWarning(UserWarning):
    """A cell names parameters that do not influence its result."""


class KernelError(AnyrnnError, RuntimeError):
    """This machine cannot compile or run a kernel."""


class CacheError(AnyrnnError, OSError):
    """The folder of compiled code cannot be used."""


class CacheWarning(UserWarning):
    """Compiled code is not kept on disk, so that every process compiles it again."""


class StoppedError(AnyrnnError):
    """The user stopped the work; the message says how to go on."""

    exit_code = 130
