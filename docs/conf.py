"""How Sphinx makes a site of the documents: `make docs`."""

project = "anyrnn"
author = "The anyrnn developers"
copyright = "The anyrnn developers, Apache-2.0"

extensions = ["myst_parser", "sphinx-mathjax-offline"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "anyrnn"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
pygments_style = "default"
