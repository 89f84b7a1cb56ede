"""Problems whose data are drawn: the adding problem and copy memory.

They are tasks as those of `anyrnn.tasks` are, so that whatever trains, compares, tunes or inspects
a task does so with them; `anyrnn train` only does not list them, for nobody has data of theirs.
"""
