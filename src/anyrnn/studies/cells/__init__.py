"""The study *Which cell should I use?*: every main cell on problems that ask for memory and on real
data, at equal parameters; the page that says what was found, and its pictures.
"""
