"""Captions of pictures as a task."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy
from numpy.typing import NDArray

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.tasks.caption.backbone import Backbone
from anyrnn.tasks.caption.baselines import most_frequent, nearest
from anyrnn.tasks.caption.captioning import Captioned, captions_of
from anyrnn.tasks.caption.data import Part, read, read_part
from anyrnn.tasks.caption.features import (
    ArraySource,
    FeatureSource,
    PictureSource,
    check_channels,
    given_features,
)
from anyrnn.tasks.caption.model import CaptionNetwork
from anyrnn.tasks.caption.options import (
    DataOptions,
    Options,
    PredictOptions,
    SearchOptions,
)
from anyrnn.tasks.caption.report import pictures
from anyrnn.tasks.caption.scores import (
    CaptionScores,
    Example,
    figures_of,
    frequent,
    glances_of,
)
from anyrnn.tasks.data.batches import Batch, Batches, Column
from anyrnn.tasks.data.encoding import given_texts
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.sequences import Sequences
from anyrnn.tasks.data.streams import IGNORED
from anyrnn.tasks.decoding.decoder import preceding
from anyrnn.tasks.decoding.search import generator_of
from anyrnn.tasks.decoding.search_options import check_search
from anyrnn.tasks.decoding.text_scores import bleu_tokens, reference_losses
from anyrnn.tasks.decoding.written_vocabulary import WrittenVocabulary, kind_of_tokens
from anyrnn.tasks.options.common_options import KIND_OF_TOKENS
from anyrnn.tasks.options.declaration import check_needs
from anyrnn.tasks.run_files import CONFIG, entry
from anyrnn.tasks.scores.figures import LOSS, PERPLEXITY, Figure
from anyrnn.tasks.task import ScoreTable, Step, Task

_BATCH_SIZE = 64
_AT_ONCE = 32  # pictures that are read together
_EXAMPLES, _GLANCES, _TOLD = 24, 6, 5


@dataclass(frozen=True)
class Caption(Task[Options, Part, CaptionNetwork]):
    """Pictures and their captions.

    Attributes:
        options: What the user chose.
        source: What makes features of pictures.
        channels: The number of channels of a region.
        vocabulary: Captions to tokens and back.
        bleu_tokens: How sacrebleu divides captions into words.
    """

    name = "caption"
    options_type = Options
    title = "captions"
    unit = "picture"
    units = "pictures"
    figures = (
        Figure("bleu_4", "BLEU-4", once=True, digits=1),
        Figure("cider", "CIDEr-D", once=True),
        Figure("bleu_1", "BLEU-1", once=True, digits=1),
        Figure("bleu_2", "BLEU-2", once=True, digits=1),
        Figure("bleu_3", "BLEU-3", once=True, digits=1),
        Figure("distinct", "distinct", percent=True, once=True),
        replace(PERPLEXITY, title="ppl", digits=1),
        LOSS,
    )
    template = "caption.html"

    options: Options
    source: FeatureSource
    channels: int
    vocabulary: WrittenVocabulary
    bleu_tokens: str

    @classmethod
    def read(cls, options: Options) -> Data[Part]:
        """Read and split the files."""
        return read(options.data, options.pictures, options.training.seed)

    @classmethod
    def prepare(cls, options: Options, training: Part, noted: Callable[[str], None]) -> Self:
        """Make the vocabulary."""
        captions = [caption for own in training.captions for caption in own]
        kind = kind_of_tokens(options.vocabulary.tokens, captions, "word")
        check_needs(options, data={KIND_OF_TOKENS: (f"{kind} tokens",)})
        vocabulary = WrittenVocabulary.made(captions, kind, options.vocabulary)
        channels = int(training.features.channels[0])
        found = cls(options, training.source, channels, vocabulary, bleu_tokens(captions))
        noted(f"tokens: {kind}, {vocabulary.size:,} in the vocabulary")
        regions = training.features.lengths
        number = (
            f"{regions.min()}"
            if regions.min() == regions.max()
            else (f"{regions.min()} to {regions.max()}")
        )
        noted(f"regions of a picture: {number}, each with {channels:,} channels")
        left_out = len(captions) - len(found._captions(training, training=True)[0])
        if left_out:
            noted(
                f"left out of the training: {left_out:,} caption(s) with more than "
                f"{options.vocabulary.maximum_length:,} tokens"
            )
        return found

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the vocabulary of a run, and how it read pictures."""
        path = run / CONFIG
        vocabulary = WrittenVocabulary.restored(state, run)
        backbone = state.get("backbone")
        source: FeatureSource = ArraySource()
        if backbone is not None:
            source = PictureSource(Backbone.restored(entry(state, "backbone", dict, path), path))
        channels = entry(state, "channels", int, path)
        return cls(options, source, channels, vocabulary, entry(state, "bleu_tokens", str, path))

    def read_part(self, options: DataOptions) -> tuple[Part, dict[str, object]]:
        """Read a table, and the pictures as in the training."""
        if options.arrays is not None and isinstance(self.source, PictureSource):
            raise OptionError(
                f"the run reads pictures with {self.source.backbone.name}, so that "
                f"{option_name('arrays')} has no effect; leave it out"
            )
        if options.arrays is None and isinstance(self.source, ArraySource):
            raise OptionError(
                f"the run has learned from arrays; name their folder with {option_name('arrays')}"
            )
        part = read_part(options.data, options, self.source)
        check_channels(part.features, part.files, self.channels, "the training had")
        return part, {"skipped": dict(part.skipped)}

    def state(self) -> dict[str, Any]:
        """The kind of tokens, how pictures are read, and how BLEU is computed."""
        known = self.source.backbone.state() if isinstance(self.source, PictureSource) else None
        return {
            "tokens": self.vocabulary.kind,
            "bleu_tokens": self.bleu_tokens,
            "channels": self.channels,
            "backbone": known,
        }

    def files(self) -> dict[str, str]:
        """The tokenizer."""
        return self.vocabulary.files()

    def baselines(self, data: Data[Part]) -> dict[str, dict[str, float]]:
        """The most frequent caption for all, and the first one of the most similar picture."""
        training, measured = data.training, data.measured[1]
        always = [most_frequent(training.captions)] * len(measured)
        rows = nearest(training.features, measured.features)
        similar = [training.captions[row][0] for row in rows]
        return {
            "most frequent": self._figures(always, measured)[0],
            "nearest": self._figures(similar, measured)[0],
        }

    def network(self, cell: str) -> CaptionNetwork:
        """A network of the chosen sizes."""
        sizes = asdict(self.options.model)
        return CaptionNetwork(cell, self.vocabulary.size, self.channels, **sizes)

    def batches(self, part: Part, batch_size: int, seed: int | None) -> Batches:
        """A row for each caption, with its picture."""
        rows, captions = self._captions(part, training=seed is not None)
        features = part.features.taken(rows)
        columns = {
            "regions": Column(features, padded=True, lengths=features.lengths),
            "target": Column(captions, padded=True, lengths=captions.lengths, padding=IGNORED),
        }
        return Batches(columns, batch_size, seed, by="target")

    def _captions(self, part: Part, training: bool) -> tuple[NDArray[numpy.int64], Sequences]:
        """The picture of each caption, and its tokens; those too long to be learned from are left
        out, to be measured they are cut.
        """
        longest = self.options.vocabulary.maximum_length
        captions = [caption for own in part.captions for caption in own]
        rows = numpy.repeat(numpy.arange(len(part)), [*map(len, part.captions)])
        found = self.vocabulary.encode(captions, longest + 1 if training else longest)
        kept = numpy.flatnonzero(found.lengths <= longest + 1)
        if not len(kept):
            raise DataError(
                f"all {len(captions):,} captions of {part.path} have more than {longest:,} tokens; "
                f"raise {option_name('maximum_length')}"
            )
        return rows[kept], found.taken(kept)

    def step(self, network: CaptionNetwork, batch: Batch, carried: Any = None) -> Step:
        """Cross-entropy of each token, given those before it and the picture."""
        targets, lengths = batch["target"], batch.lengths
        vectors, _ = network(
            batch["regions"], lengths["regions"], preceding(targets), lengths["target"]
        )
        losses = network.decoder.losses(vectors, targets)
        count = int((targets != IGNORED).sum())
        return Step.mean_of(losses, count, (losses,))

    def score(
        self, network: CaptionNetwork, part: Part, check: Callable[[], None] = lambda: None
    ) -> CaptionScores:
        """Caption all pictures, and compare."""
        losses = reference_losses(self, network, self.batches(part, _BATCH_SIZE, None), check)
        search = SearchOptions(beam=self.options.beam)
        every = captions_of(network, self.vocabulary, part.features, search, check=check)
        found = [candidates[0] for candidates in every]
        captions = [each.text for each in found]
        figures, signature = self._figures(captions, part)
        shown = part.spread(_EXAMPLES)
        drawn = [row for row in shown if all(part.features.grid(row))][:_GLANCES]
        return CaptionScores(
            count=len(part),
            figures=figures | losses.figures,
            signature=signature,
            unknown=losses.unknown,
            cut=sum(not each.ended for each in found),
            frequent=frequent(captions, _TOLD),
            examples=[
                Example(
                    part.names[row],
                    str(part.files[row]),
                    captions[row],
                    list(part.captions[row]),
                    glances_of(found[row], part.features.grid(row), self.vocabulary)
                    if row in drawn
                    else [],
                )
                for row in shown
            ],
        )

    def _figures(self, captions: Sequence[str], part: Part) -> tuple[dict[str, float], str]:
        lowercase = self.options.vocabulary.lowercase
        return figures_of(captions, part.captions, self.bleu_tokens, lowercase=lowercase)

    def tables(self, scores: CaptionScores) -> list[ScoreTable]:
        """The most frequent captions, and how BLEU was computed."""
        rows = [(caption, f"{count:,}") for caption, count in scores.frequent]
        signature = [("BLEU", scores.signature)]
        return [
            ScoreTable(("most frequent captions", "pictures"), rows),
            ScoreTable(("figure", "signature of sacrebleu"), signature, numbers=False),
        ]

    def predict(
        self, network: CaptionNetwork, inputs: Sequence[Any], **search: Any
    ) -> list[Captioned]:
        """The captions of pictures.

        Args:
            network: The network.
            inputs: The files of the pictures or, if the run has learned from arrays, those of
                arrays; or arrays themselves, (regions, channels) or (channels, height, width).
            search: See `SearchOptions`: beam, n_best, length_penalty, ...

        Raises:
            DataError: One of them cannot be used.
            OptionError: An option has no effect beside the others, or does not fit them.
        """
        return list(self.captions(network, inputs, SearchOptions(**search)))

    def captions(
        self, network: CaptionNetwork, inputs: Iterable[Any], search: SearchOptions
    ) -> Iterator[Captioned]:
        """The captions of pictures, in their order; see `predict`."""
        check_search(search, attention=self.options.model.attention != "none")
        generator, asked, first = generator_of(search.seed), iter(inputs), 0
        while some := list(islice(asked, _AT_ONCE)):
            features = given_features(self.source, some, first)
            arrays = (isinstance(each, numpy.ndarray) for each in some)
            names = [
                f"row {first + n}" if is_array else some[n] for n, is_array in enumerate(arrays)
            ]
            check_channels(features, names, self.channels, "the training had")
            found = captions_of(network, self.vocabulary, features, search, generator)
            yield from map(Captioned, some, found)
            first += len(some)

    def answers(
        self, network: CaptionNetwork, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """The captions of the pictures of the command line, a file or standard input."""
        files = given_texts(options.texts, options.file, options.encoding)
        for each in self.captions(network, filter(str.strip, files), options.search):
            yield {"picture": each.picture, **each.answer("caption")}

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """The pictures that are shown."""
        return pictures(self.options, results)
