"""Texts that a network writes.

A `decoder` with `attention`, the `search` for the best text with its `search_options`; tokens in
`written_tokens` and `written_vocabulary`; BLEU in `text_scores`.
"""
