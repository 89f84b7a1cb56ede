"""Tagging as a task."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy
import torch

from anyrnn.errors import RunError
from anyrnn.tasks.answers import AT_ONCE, answers_to_texts
from anyrnn.tasks.data.batches import Batch, Batches, Column
from anyrnn.tasks.data.columns import taken
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.prepared import advanced, number_sequences
from anyrnn.tasks.data.sequences import Sequences
from anyrnn.tasks.data.vocabulary import UNKNOWN_ID, split_words
from anyrnn.tasks.networks.layers import step_mask
from anyrnn.tasks.options.declaration import replaced
from anyrnn.tasks.options.suffixes import has_tokens
from anyrnn.tasks.run_files import CONFIG, entry, strings
from anyrnn.tasks.scores.class_scores import table_of
from anyrnn.tasks.scores.figures import LOSS, Figure
from anyrnn.tasks.tag.data import Part, are_spans, part_of, read, sentences_of, unknown_tags
from anyrnn.tasks.tag.files import distinct, read_sentences
from anyrnn.tasks.tag.model import TagNetwork
from anyrnn.tasks.tag.options import DataOptions, Options, PredictOptions
from anyrnn.tasks.tag.report import COMPARED, pictures
from anyrnn.tasks.tag.scores import TaggingScores, Tally
from anyrnn.tasks.tag.spans import SpanCounts, repaired
from anyrnn.tasks.tag.vocabulary import Vocabulary
from anyrnn.tasks.task import Metric, ScoreTable, Step, Task, check_finite, steps

_BATCH_SIZE = 128
_NUMBERED_AT_ONCE = 10_000
_NO_TAG = -1
_VOCABULARY = "vocabulary.json"
_FIGURES = (Figure("accuracy", "accuracy", percent=True), LOSS)
_SPAN_F1 = Figure("span_f1", "F1 of spans", percent=True)


@dataclass(frozen=True)
class Tagged:
    """A sentence with its tags.

    Attributes:
        tokens: The tokens.
        tags: The tag of each of them.
    """

    tokens: list[str]
    tags: list[str]


@dataclass(frozen=True)
class Tag(Task[Options, Part, TagNetwork]):
    """Sentences with a tag for each token.

    Attributes:
        options: What the user chose.
        tags: The tags, in the order of their numbers.
        vocabulary: Words and characters to numbers.
        with_spans: Whether tags describe spans, such as B-PER I-PER.
        figures: The figures; with spans, their F1 is the first one.
    """

    name = "tag"
    options_type = Options
    title = "tagging"
    unit = "token"
    units = "tokens"
    template = "tag.html"

    options: Options
    tags: list[str]
    vocabulary: Vocabulary
    with_spans: bool
    figures: tuple[Figure, ...] = _FIGURES

    @classmethod
    def of(
        cls, options: Options, tags: list[str], vocabulary: Vocabulary, with_spans: bool
    ) -> Self:
        """The task with the figures that such tags have."""
        figures = (_SPAN_F1, *_FIGURES) if with_spans else _FIGURES
        return cls(options, tags, vocabulary, with_spans, figures)

    @property
    def deciding(self) -> str:
        """With spans their F1 decides, else the loss."""
        return _SPAN_F1.name if self.with_spans else LOSS.name

    @classmethod
    def read(cls, options: Options) -> Data[Part]:
        """Read and split the files."""
        return read(options.data, options.words.spans, options.training.seed)

    @classmethod
    def prepare(cls, options: Options, training: Part, noted: Callable[[str], None]) -> Self:
        """Make the vocabulary and list the tags."""
        vocabulary = Vocabulary.of(
            training.tokens,
            training.tags,
            lowercase=options.words.lowercase,
            minimum_frequency=options.words.minimum_frequency,
        )
        with_spans = are_spans(training.tag_counts, options.words.spans)
        noted(
            f"vocabulary: {len(vocabulary.words):,} words, {len(vocabulary.characters):,} "
            f"characters; tags {'describe spans' if with_spans else 'stand for themselves'}"
        )
        return cls.of(options, sorted(training.tag_counts), vocabulary, with_spans)

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the tags and the vocabulary of a run."""
        tags = strings(state, "tags", run / CONFIG)
        with_spans = entry(state, "with_spans", bool, run / CONFIG)
        vocabulary = Vocabulary.load(run / _VOCABULARY)
        if not {vocabulary.usual_tag, *vocabulary.usual_tags.values()} <= set(tags):
            raise RunError(f"the run is damaged: {run / _VOCABULARY} has tags of another run")
        return cls.of(options, tags, vocabulary, with_spans)

    def read_part(self, options: DataOptions) -> tuple[Part, dict[str, object]]:
        """Read a file with tags of which the training had some."""
        part = part_of(sentences_of(options.data, options), self.with_spans)
        unknown = unknown_tags(part, set(self.tags))
        return part, {"skipped": part.skipped, "unknown_tags": unknown}

    def state(self) -> dict[str, Any]:
        """The tags, and whether they describe spans."""
        return {"tags": self.tags, "with_spans": self.with_spans}

    def files(self) -> dict[str, str]:
        """The vocabulary."""
        return {_VOCABULARY: self.vocabulary.to_json()}

    def network(self, cell: str) -> TagNetwork:
        """A network of the chosen sizes."""
        words, characters = self.vocabulary.words, self.vocabulary.characters
        first = UNKNOWN_ID + 1
        sizes = asdict(self.options.model)
        counts = (first + len(characters), len(self.tags))
        return TagNetwork(cell, list(words.values()), *counts, **sizes)

    def batches(self, part: Part, batch_size: int, seed: int | None) -> Batches:
        """Words, characters and tags."""
        return self._batches(part.tokens, part.tags, batch_size, seed)

    def _batches(
        self,
        sentences: Sequence[Sequence[str]],
        tags: Sequence[Sequence[str]],
        batch_size: int,
        seed: int | None = None,
    ) -> Batches:
        vocabulary = self.vocabulary
        numbers = {tag: number for number, tag in enumerate(self.tags)}
        form_of = {form: number for number, form in enumerate(distinct(sentences), start=1)}
        # Number 0, of the padding, has no characters.
        spelling = numpy.pad(vocabulary.spelling(list(form_of)), ((1, 0), (0, 0)))
        words = _numbered("words", vocabulary.to_json(), sentences, vocabulary.word_numbers)
        forms = _numbered("forms", "", sentences, lambda each: [form_of[token] for token in each])
        targets = _numbered(
            "tags", repr(self.tags), tags, lambda each: [numbers.get(tag, _NO_TAG) for tag in each]
        )
        padded = partial(Column, padded=True, lengths=words.lengths)
        columns = {
            "words": padded(words),
            "forms": padded(forms),
            "characters": padded(_Spelled(forms, spelling)),
            "tags": padded(targets, padding=_NO_TAG),
        }
        return Batches(columns, batch_size, seed)

    def batch_of(self, sentences: Sequence[Sequence[str]]) -> Batches:
        """Sentences without tags, in one batch."""
        return self._batches(sentences, [[""] * len(each) for each in sentences], len(sentences))

    def step(self, network: TagNetwork, batch: Batch, carried: Any = None) -> Step:
        """Cross-entropy, or the negative log-likelihood of a conditional random field."""
        lengths = batch.lengths["words"]
        scores = network(batch["words"], lengths, batch["characters"], batch["forms"])
        count = int((batch["tags"] != _NO_TAG).sum())
        if count or network.training:
            losses = network.losses(scores, batch["tags"], lengths)
        else:  # nothing is said of the tags
            losses = scores.new_zeros(len(batch))
        # A gradient needs no tags, and those of a conditional random field take time.
        tags = None if network.training else network.decode(scores, lengths)
        return Step.mean_of(losses, count, (losses, scores, tags))

    def metrics(self) -> dict[str, Metric]:
        """Accuracy; with spans, their F1."""
        from torchmetrics import MeanMetric

        from anyrnn.tasks.scores.metrics import Counts

        found: dict[str, Metric] = {"accuracy": MeanMetric()}
        if self.with_spans:
            found[_SPAN_F1.name] = Counts(
                3,
                lambda true, given: astuple(SpanCounts.of(true, given)),
                lambda *counts: SpanCounts(*counts).f1,
            )
        return found

    def measure(self, metrics: Mapping[str, Metric], step: Step, batch: Batch) -> None:
        """Update them; what has a tag that the training did not have is wrong."""
        lengths = batch.lengths["words"]
        *_, given = step.output
        right = (given == batch["tags"])[step_mask(lengths, given.shape[1])]
        metrics["accuracy"].update(right.float())
        if self.with_spans:
            metrics[_SPAN_F1.name].update(
                self._named(batch["tags"], lengths), self._named(given, lengths)
            )

    def _named(self, numbers: torch.Tensor, lengths: torch.Tensor) -> list[list[str]]:
        """The tags of each sentence; an unknown one is a kind of its own that is never given."""
        names = [*self.tags, "B-"]
        rows = zip(numbers.tolist(), lengths.tolist(), strict=True)
        found = [[names[number] for number in row[:length]] for row, length in rows]
        return [repaired(each) for each in found] if self.with_spans else found

    def score(
        self, network: TagNetwork, part: Part, check: Callable[[], None] = lambda: None
    ) -> TaggingScores:
        """Compare the given tags with the true ones."""
        tally = Tally(self.tags, with_spans=self.with_spans)
        knows = self.vocabulary.knows
        for batch, (losses, _, tags) in self._outputs(network, part.tokens, part.tags, check):
            rows, given = batch.rows.tolist(), self._named(tags, batch.lengths["words"])
            tokens, truth = (list(taken(each, rows)) for each in (part.tokens, part.tags))
            listed = zip(rows, tokens, truth, given, losses.tolist(), strict=True)
            for row, own, true, found, loss in listed:
                guess = self.vocabulary.guess(own)
                guess = repaired(guess) if self.with_spans else guess
                tally.add(row, own, true, found, guess, [knows(token) for token in own], loss)
        return tally.scores()

    def predict(self, network: TagNetwork, inputs: Sequence[Sequence[str]]) -> list[Tagged]:
        """The tags of each sentence.

        Args:
            network: The network.
            inputs: The tokens of each sentence; none of them is without a token.
        """
        found: dict[int, list[str]] = {}
        for batch, (_, _, tags) in self._outputs(network, inputs):
            given = self._named(tags, batch.lengths["words"])
            found |= zip(batch.rows.tolist(), given, strict=True)
        return [Tagged(list(tokens), found[row]) for row, tokens in enumerate(inputs)]

    def probabilities(
        self, network: TagNetwork, inputs: Sequence[Sequence[str]]
    ) -> list[torch.Tensor]:
        """The probability of each tag for each token of each sentence, (tokens, tags)."""
        found: dict[int, torch.Tensor] = {}
        for batch, (_, scores, _) in self._outputs(network, inputs):
            lengths = batch.lengths["words"]
            padded = network.probabilities(scores, lengths).cpu()
            rows = zip(batch.rows.tolist(), padded, lengths.tolist(), strict=True)
            found |= {row: each[:length].clone() for row, each, length in rows}
        return [found[row] for row in range(len(inputs))]

    def answers(self, network: TagNetwork, options: PredictOptions) -> Iterator[dict[str, object]]:
        """The tags of each sentence of the command line, a file or standard input."""
        file = options.file if options.file and has_tokens(options.file) else None

        def ask(texts: list[str]) -> Iterator[dict[str, object]]:
            return map(asdict, self.predict(network, list(map(split_words, texts))))

        if options.texts or not file:
            of_lines = replaced(options, file=None) if file else options
            yield from answers_to_texts(of_lines, ask, {"tokens": [], "tags": []})
        if not file:
            return
        found = read_sentences(
            file,
            token_column=options.token_column or self.options.data.token_column,
            with_tags=False,
            encoding=options.encoding,
        )
        for start in range(0, len(found), AT_ONCE):
            yield from map(asdict, self.predict(network, found.tokens[start : start + AT_ONCE]))

    def tables(self, scores: TaggingScores) -> list[ScoreTable]:
        """Known and unknown words beside the most frequent tags, and the scores of each tag."""
        names = [name for name in COMPARED if name in scores.figures]
        rows = [
            (title, *(f"{100 * figures[name]:.1f}" for name in names))
            for title, figures in {"tagger": scores.figures, **scores.baselines}.items()
        ]
        headings = (COMPARED[name] for name in names)
        tables = [ScoreTable(("", *(f"{heading} %" for heading in headings)), rows)]
        for title, units, classes in (
            ("kind", "spans", scores.kinds),
            ("tag", "tokens", scores.classes),
        ):
            if classes:
                tables.append(table_of(classes, title, units))
        return tables

    def _outputs(
        self,
        network: TagNetwork,
        sentences: Sequence[Sequence[str]],
        tags: Sequence[Sequence[str]] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[Batch, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
        """Some sentences after the other: the loss of each, the scores of its tags, and its tags.

        Args:
            network: The network.
            sentences: The tokens of each sentence; none of them is without a token.
            tags: The true tags, if they are known.
            check: Called after each batch.
        """
        if not sentences:
            return
        tags = [[""] * len(each) for each in sentences] if tags is None else tags
        batches = self._batches(sentences, tags, _BATCH_SIZE)
        for batch, step in steps(self, network, batches, check):
            losses, scores, _ = step.output
            check_finite(losses)
            check_finite(scores)
            yield batch, step.output

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """Confusions."""
        return pictures(results)


def _numbered(
    name: str,
    follows_from: str,
    sentences: Sequence[Sequence[str]],
    numbers_of: Callable[[Sequence[str]], list[int]],
) -> Sequences:
    """A number for each token of each sentence; on disk for sentences that lie there."""

    def chunks() -> Iterator[list[list[int]]]:
        for start in range(0, len(sentences), _NUMBERED_AT_ONCE):
            some = sentences[start : start + _NUMBERED_AT_ONCE]
            yield list(map(numbers_of, some))
            advanced("encoding sentences", start + len(some), len(sentences))

    return number_sequences((name, follows_from), sentences, chunks)


class _Spelled(Sequence[numpy.ndarray]):
    """The characters of the tokens of each sentence, made when they are asked for."""

    def __init__(self, forms: Sequences, spelling: numpy.ndarray) -> None:
        self._forms, self._spelling = forms, spelling

    def __len__(self) -> int:
        return len(self._forms)

    def __getitem__(self, row: Any) -> Any:
        return self._spelling[self._forms[row]]
