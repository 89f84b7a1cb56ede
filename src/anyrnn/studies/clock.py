"""How long a study has taken, also before it was interrupted."""

import time
from contextlib import suppress
from pathlib import Path

from anyrnn.errors import RunError, WriteError
from anyrnn.studies.trials import TrialRecord
from anyrnn.studies.worker import StudyListener
from anyrnn.tasks.run_files import read_json, write_json
from anyrnn.tasks.training.listener import Epoch

TIME = "seconds.json"
_OFTEN = 10  # seconds


def seconds_in(path: Path) -> float:
    """What a file says of how long a study has taken; 0 without one."""
    with suppress(RunError):
        return float(read_json(path)["seconds"])
    return 0.0


class Clock(StudyListener):
    """Keeps how long a study has taken in a file, so that it is known after a kill, too; passes on
    what it is told.

    Args:
        path: The file.
        listener: Told whatever this one is told.

    Attributes:
        before: How long the study had taken when the clock was made.
    """

    def __init__(self, path: Path, listener: StudyListener) -> None:
        self.before = seconds_in(path)
        self._path = path
        self._start = self._written = time.time()
        self.noted, self.preparing = listener.noted, listener.preparing
        self.trial_started, self.batch_done = listener.trial_started, listener.batch_done
        self._listener = listener

    def epoch_done(self, number: int, epoch: Epoch) -> None:
        """Passes it on, and writes the time now and then."""
        self._listener.epoch_done(number, epoch)
        if time.time() > self._written + _OFTEN:
            self.write()

    def trial_done(self, record: TrialRecord) -> None:
        """Passes it on, and writes the time."""
        self._listener.trial_done(record)
        self.write()

    def write(self) -> None:
        """Write how long it has taken so far."""
        self._written = time.time()
        with suppress(WriteError):
            write_json(self._path, {"seconds": self.before + self._written - self._start})
