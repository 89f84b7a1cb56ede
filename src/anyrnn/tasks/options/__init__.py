"""Options of tasks, each declared once.

Declarations are made with `declaration`; those of several tasks are `file_options`,
`training_options` and, on networks, tokens and searches, `common_options`. Checks are in
`option_checks`; files of options in `option_files`, `nested`, `suffixes`.
"""
