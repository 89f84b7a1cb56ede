"""A book and poems that are easy to learn."""

KINDS = ["character", "word", "whitespace", "bpe"]

BOOK = "the cat sat on the mat.\nthe dog sat on the log.\na cat and a dog sat.\n" * 30
POEMS = ["春眠不觉晓", "处处闻啼鸟", "夜来风雨声", "花落知多少"] * 6
