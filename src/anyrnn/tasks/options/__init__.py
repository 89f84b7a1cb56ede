"""Options of tasks, each declared once.

Declarations are made with `declaration`; `common_options` are those of several tasks. Checks are in
`option_checks`; files of options in `option_files`, `nested`, `suffixes`.
"""
