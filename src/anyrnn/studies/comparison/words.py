"""The sentences and headings of a comparison, in English and in Chinese: `words.yaml`."""

from anyrnn.tasks.words import Words

WORDS = Words(__file__)
said, headings, named = WORDS.said, WORDS.headings, WORDS.named
