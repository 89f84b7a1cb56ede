"""Every exception class of anyrnn.

All derive from `AnyrnnError`, so that `except anyrnn.AnyrnnError` catches whatever a user's own
input can cause. Each also derives from the built-in exception that PyTorch or Python raises in the
same place, so that code written for them keeps working.
"""


class AnyrnnError(Exception):
    """The base of all exceptions of anyrnn: a mistake in what the user gave, said in one line.

    Attributes:
        exit_code: What the command line ends with.
    """

    exit_code = 2


class CellError(AnyrnnError, TypeError):
    """The equations of a cell cannot be read: an unknown function, a branch on a value, a wrong
    result.
    """


class SizeError(AnyrnnError, ValueError):
    """Two sizes disagree, or a size is missing, zero or negative."""


class UnknownCellError(AnyrnnError, KeyError):
    """No cell of that name in the catalogue."""

    def __str__(self) -> str:
        """The message itself (`KeyError` would print its representation, in quotes)."""
        return str(self.args[0]) if self.args else ""


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
        super().__init__(kind, name, problem)
        self.kind, self.name, self.problem = kind, name, problem

    def __str__(self) -> str:
        """One sentence."""
        return f"the {self.kind} {self.name} {self.problem}"


class VerificationError(AnyrnnError, AssertionError):
    """A graph breaks its own rules: a mistake in anyrnn, not in the user's input. Please report
    it.
    """


class MissingExtraError(AnyrnnError, ImportError):
    """A library that this part needs is not installed; the message says which extra brings it."""


class DataError(AnyrnnError, ValueError):
    """A data file is missing, empty, damaged or lacks a column."""


class RunError(AnyrnnError, ValueError):
    """A run folder exists already, is damaged, or is none."""


class WriteError(RunError):
    """A file of a run cannot be written: the disk is full, or access is denied. What was written
    before is as it was.
    """


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
