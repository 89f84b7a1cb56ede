"""What an inspection says, in English and in Chinese: `words.yaml`."""

from anyrnn.tasks.words import Words

WORDS = Words(__file__)
said, heading, headings = WORDS.said, WORDS.heading, WORDS.headings
