"""What is said when there is not enough memory."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from anyrnn.errors import SizeError, option_name


@contextmanager
def enough_memory() -> Iterator[None]:
    """Tell in one line when there is not enough memory.

    Raises:
        SizeError: There was not.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lacking = re.search("(not enough|allocate|out of) memory|size calculation", str(error))
        if not (lacking or isinstance(error, MemoryError)):
            raise
        raise SizeError(
            "there is not enough memory for such batches: use a smaller "
            f"{option_name('batch_size')}, or a smaller network"
        ) from None
