"""The files of checkpoints."""

import io
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from anyrnn.tasks.run_files import write_bytes
from anyrnn.tasks.training import processes


class Checkpoints(TorchCheckpointIO):
    """Files of checkpoints: whole or not at all, with a checksum; no pickled code is run."""

    _START = b"anyrnn checkpoint 1\n"

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a file, with its checksum before the content."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        write_bytes(Path(path), self._START + sha256(content).digest() + content)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a file; of several processes the first reads it for all.

        Raises:
            ValueError: It is not as it was written.
        """
        return processes.first(self._read, Path(path), map_location)

    def _read(self, path: Path, map_location: Any) -> dict[str, Any]:
        content = path.read_bytes()
        start = len(self._START) + sha256().digest_size
        if content[:start] != self._START + sha256(content[start:]).digest():
            raise ValueError(f"{path} is not as it was written")
        return torch.load(io.BytesIO(content[start:]), map_location or "cpu", weights_only=True)
