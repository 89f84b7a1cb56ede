"""Data, from the user's files to batches.

Files are read by `contents`, `encoding`, `table_files`, `table_pieces`, `arrow_tables`: into a
`table` of `columns`, or `sequences`; what is prepared of them once lies in `prepared` or `kept`.
Columns of `times` may have a `zone`, and keep to a step (`frequency`). `vocabulary` gives tokens
numbers, `split` divides rows into `parts`, `batches` and `streams` put them together.
"""
