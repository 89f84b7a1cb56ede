"""Language models as a task."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import torch
from tokenizers import Tokenizer

from anyrnn.errors import DataError
from anyrnn.tasks.answers import answers_to_texts
from anyrnn.tasks.data.batches import Batch
from anyrnn.tasks.data.kept import Kept
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.streams import StreamBatches
from anyrnn.tasks.data.vocabulary import TOKENIZER, load_tokenizer
from anyrnn.tasks.decoding.search import generator_of
from anyrnn.tasks.decoding.written_tokens import (
    BOUNDARY_ID,
    END_MARK,
    SPECIAL,
    UNKNOWN_ID,
    UNKNOWN_MARK,
    Writer,
    make_tokenizer,
)
from anyrnn.tasks.generate.data import Part, read, read_part
from anyrnn.tasks.generate.model import LanguageNetwork
from anyrnn.tasks.generate.ngrams import ngrams
from anyrnn.tasks.generate.options import (
    LARGE_VOCABULARY,
    SMALLEST_ADAPTIVE,
    DataOptions,
    Options,
    PredictOptions,
    SamplingOptions,
)
from anyrnn.tasks.generate.report import pictures
from anyrnn.tasks.generate.sampling import Writing
from anyrnn.tasks.generate.scores import (
    GenerationScores,
    Likelihood,
    Sample,
    TokenScore,
)
from anyrnn.tasks.generate.tokens import Encoded, encode, encode_prompt
from anyrnn.tasks.options.declaration import check_needs
from anyrnn.tasks.scores.figures import LOSS, PERPLEXITY, Figure, perplexity
from anyrnn.tasks.task import Metric, ScoreTable, Step, Task, check_finite, steps

# To measure, long streams are few enough that their cold starts do not count.
_MEASURED_STREAMS, _SHORTEST_STREAM = 16, 2000

_TEMPERATURES = (0.5, 0.8, 1.0, 1.2)
_SAMPLE_CHARACTERS, _PROMPT_CHARACTERS, _PASSAGE_CHARACTERS = 400, 80, 1500
_PASSAGE_TOKENS = 4 * _PASSAGE_CHARACTERS  # a character has four bytes at most
_COUNTED = 10_000_000  # tokens of the training, so that memory is bounded
_LISTED_TOKENS, _TOLD_TOKENS = 25, 10


@dataclass(frozen=True)
class Generate(Task[Options, Part, LanguageNetwork]):
    """Texts of which each token is predicted from those before.

    Attributes:
        options: What the user chose.
        tokenizer: Texts to token numbers.
        ends: Whether the texts of the training end; a single book does not.
    """

    name = "generate"
    options_type = Options
    title = "language model"
    unit = "token"
    units = "tokens"
    figures = (
        Figure("bits_per_character", "bits per character", larger_is_better=False),
        PERPLEXITY,
        LOSS,
    )
    template = "generate.html"

    options: Options
    tokenizer: Tokenizer
    ends: bool
    _encoded: Kept[Part, Encoded] = field(default_factory=Kept, repr=False, compare=False)

    @classmethod
    def read(cls, options: Options) -> Data[Part]:
        """Read and split the files."""
        return read(options.data, options.training.seed)

    @classmethod
    def prepare(cls, options: Options, training: Part, noted: Callable[[str], None]) -> Self:
        """Make the vocabulary."""
        kind = options.vocabulary.tokens
        tokenizer = make_tokenizer(training.texts, kind, options.vocabulary)
        size = tokenizer.get_vocab_size()
        if size < SMALLEST_ADAPTIVE:
            check_needs(options, data=LARGE_VOCABULARY.lacking)
        noted(f"tokens: {kind}, {size:,} in the vocabulary")
        return cls(options, tokenizer, ends=len(training.texts) > 1)

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the tokenizer of a run."""
        return cls(options, load_tokenizer(run / TOKENIZER, SPECIAL), bool(state.get("ends")))

    def read_part(self, options: DataOptions) -> tuple[Part, dict[str, object]]:
        """Read files of texts."""
        part = read_part(options.data, options)
        return part, {"skipped": dict(part.skipped)}

    def state(self) -> dict[str, Any]:
        """Whether texts end."""
        return {"ends": self.ends}

    def files(self) -> dict[str, str]:
        """The tokenizer."""
        return {TOKENIZER: self.tokenizer.to_str(pretty=True)}

    def baselines(self, data: Data[Part]) -> dict[str, dict[str, float]]:
        """Interpolated n-grams, of the order that is best on the validation texts."""
        parts = [data.deciding[1], data.measured[1]]
        found = ngrams(
            self.encoded(data.training).tokens[:_COUNTED],
            [self.encoded(part).tokens for part in parts],
            self.tokenizer.get_vocab_size(),
            self.options.ngram_order,
        )
        order = found.order(0)
        figures = self._figures(found.losses[order - 1][1], self.encoded(parts[1]))
        part = self.encoded(data.training).count >= _COUNTED
        counted = f" of the first {_COUNTED:,} tokens" if part else ""
        return {f"{order}-grams{counted}": figures}

    def encoded(self, part: Part) -> Encoded:
        """The tokens of a part; they are kept."""
        found = self._encoded.of(part, lambda: encode(self.tokenizer, part.texts))
        if not found.count:
            raise DataError(f"{part.path} has no token; check what the tokens are")
        return found

    def network(self, cell: str) -> LanguageNetwork:
        """A network of the chosen sizes."""
        size = self.tokenizer.get_vocab_size()
        return LanguageNetwork(cell, size, **asdict(self.options.model))

    def batches(self, part: Part, batch_size: int, seed: int | None) -> StreamBatches:
        """Streams."""
        found = self.encoded(part)
        streams = batch_size if seed is not None else _measured_streams(found.count)
        ratio = {"characters": found.characters / found.count}
        return StreamBatches(
            found.tokens, streams, self.options.training.steps, found.starts, seed, constants=ratio
        )

    def step(self, network: LanguageNetwork, batch: Batch, carried: Any = None) -> Step:
        """Cross-entropy of the next token; the state goes on to the next batch."""
        inputs = batch["inputs"]
        resets = inputs == BOUNDARY_ID
        outputs, state = network(
            inputs,
            carried,
            batch.lengths.get("inputs"),
            resets if bool(resets[:, 1:].any() or (batch.continues and resets.any())) else None,
        )
        losses = network.losses(outputs, batch["targets"])
        # Of the last batch a process may have rows only that have ended before.
        return Step.mean_of(losses, len(losses), losses, carried=state)

    def metrics(self) -> dict[str, Metric]:
        """Bits per character."""
        from anyrnn.tasks.scores.metrics import Mean

        return {"bits_per_character": Mean()}

    def measure(self, metrics: Mapping[str, Metric], step: Step, batch: Batch) -> None:
        """Update them."""
        characters = batch["characters"][0]
        bits = step.loss / math.log(2) / characters
        metrics["bits_per_character"].update(bits, step.count * characters)

    def score(
        self, network: LanguageNetwork, part: Part, check: Callable[[], None] = lambda: None
    ) -> GenerationScores:
        """Measure the predictions of every token, and write samples."""
        found = self.encoded(part)
        batches = self.batches(part, 0, None)
        size = self.tokenizer.get_vocab_size()
        sums, counts = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.int64)
        passage: list[tuple[int, float]] = []
        for batch, step in steps(self, network, batches, check):
            targets, losses = batch["targets"].cpu(), step.output.double().cpu()
            counted = targets >= 0
            chosen = targets[counted]
            sums += torch.bincount(chosen, losses, size)
            counts += torch.bincount(chosen, minlength=size)
            first = int(counted[0].sum())
            if len(passage) < _PASSAGE_TOKENS:
                passage += zip(chosen[:first].tolist(), losses[:first].tolist(), strict=True)
        loss = float(sums.sum() / counts.sum())
        check_finite(sums)
        prompt = "" if self.ends else "".join(part.texts[0][:_PROMPT_CHARACTERS])
        return GenerationScores(
            count=found.count,
            figures=self._figures(loss, found),
            unknown=found.unknown,
            passage=self._passage(passage),
            surprising=self._token_scores(sums, counts),
            prompt=prompt,
            samples=self._samples(network, prompt, found),
        )

    def predict(self, network: LanguageNetwork, inputs: Sequence[str]) -> list[Likelihood]:
        """How likely each text is, as a text of its own."""
        found = []
        for text in inputs:
            part = Part(Path("the text"), [text])
            encoded = encode(self.tokenizer, part.texts)
            batches = StreamBatches(encoded.tokens, 1, self.options.training.steps)
            if not encoded.count:
                raise DataError(f"the text {text!r} has no token")
            total = sum(
                float(step.output.double().sum())
                for _, step in steps(self, network, batches, lambda: None)
            )
            figures = self._figures(total / encoded.count, encoded)
            found.append(Likelihood(text, encoded.count, **figures))
        return found

    def answers(
        self, network: LanguageNetwork, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """How likely each text of the command line, a file or standard input is."""
        nothing = dict.fromkeys(each.name for each in fields(Likelihood) if each.name != "text")

        def ask(texts: list[str]) -> Iterator[dict[str, object]]:
            return (asdict(each) for each in self.predict(network, texts))

        yield from answers_to_texts(options, ask, nothing, at_once=1, asked=bool)

    def tables(self, scores: GenerationScores) -> list[ScoreTable]:
        """The tokens that have most of the bits."""
        rows = [
            (repr(one.token), f"{one.count:,}", f"{one.bits:.2f}")
            for one in scores.surprising[:_TOLD_TOKENS]
        ]
        return [ScoreTable(("token", "occurs", "bits on average"), rows)]

    def writings(
        self, network: LanguageNetwork, sampling: SamplingOptions, count: int = 1
    ) -> Iterator[Writing]:
        """Texts to be written, one after the other.

        Raises:
            DataError: The prompt has what the training never had.
            OptionError: An option has no effect, because the likeliest token is always taken.
        """
        check_needs(sampling)
        generator = generator_of(sampling.seed)
        kind = self.options.vocabulary.tokens
        for _ in range(count):
            yield Writing(network.eval(), self.tokenizer, kind, self.ends, sampling, generator)

    def generate(self, network: LanguageNetwork, sampling: SamplingOptions) -> Iterator[str]:
        """Write a text, piece by piece; the prompt is not repeated.

        Raises:
            DataError: The prompt has what the training never had.
        """
        (writing,) = self.writings(network, sampling)
        return writing.pieces()

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """Samples, surprises."""
        return pictures(results, self.options.data.data)

    def _figures(self, loss: float, found: Encoded) -> dict[str, float]:
        bits = loss * found.count / found.characters / math.log(2)
        return {"bits_per_character": bits, "perplexity": perplexity(loss), "loss": loss}

    def _passage(self, tokens: Sequence[tuple[int, float]]) -> list[tuple[str, float]]:
        """The text and the bits of tokens; parts of characters are put together."""
        writer = Writer(self.tokenizer, self.options.vocabulary.tokens)
        pieces: list[tuple[str, float]] = []
        bits, length = 0.0, 0
        for token, loss in tokens:
            bits += loss / math.log(2)
            special = token in (BOUNDARY_ID, UNKNOWN_ID)
            text = self.token_name(token) if special else writer.text(token)
            if text:
                pieces.append((text, bits))
                bits, length = 0.0, length + len(text)
            if length >= _PASSAGE_CHARACTERS:
                break
        return pieces

    def _token_scores(self, sums: torch.Tensor, counts: torch.Tensor) -> list[TokenScore]:
        order = sums.argsort(descending=True)[:_LISTED_TOKENS].tolist()
        return [
            TokenScore(
                self.token_name(token),
                int(counts[token]),
                float(sums[token] / counts[token] / math.log(2)),
            )
            for token in order
            if counts[token]
        ]

    def token_name(self, token: int) -> str:
        """A token as reports show it."""
        marks = {BOUNDARY_ID: END_MARK, UNKNOWN_ID: UNKNOWN_MARK}
        return marks.get(token) or self.tokenizer.decode([token])

    def _samples(self, network: LanguageNetwork, prompt: str, found: Encoded) -> list[Sample]:
        length = max(1, round(_SAMPLE_CHARACTERS * found.count / found.characters))
        samples = []
        for temperature in _TEMPERATURES:
            options = SamplingOptions(
                prompt=self._known(prompt), length=length, temperature=temperature, seed=0
            )
            tokens = self.generate(network, options)
            samples.append(Sample(temperature, "".join(tokens)))
        return samples

    def _known(self, prompt: str) -> str:
        """The prompt, if the vocabulary has all of it; otherwise none."""
        try:
            encode_prompt(self.tokenizer, prompt)
        except DataError:
            return ""
        return prompt


def _measured_streams(count: int) -> int:
    return max(1, min(_MEASURED_STREAMS, count // _SHORTEST_STREAM))
