"""How Sphinx makes a site of the documents: `make docs`.

There is a build for each language: English at the root, Chinese (`sphinx-build -t zh`) in `zh/`. A
page is called the same in both, and the line under its title that names its twin is the switch.
"""

import os
import re
from pathlib import Path

from sphinx.search.en import SearchEnglish

os.environ.setdefault("KERAS_BACKEND", "torch")  # autodoc imports anyrnn.keras

CHINESE = tags.has("zh")  # noqa: F821  # Sphinx's own name

project = "anyrnn"
author = "The anyrnn developers"
copyright = "The anyrnn developers, Apache-2.0"
language = "zh_CN" if CHINESE else "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx-mathjax-offline"]
source_suffix = {".zh-CN.md" if CHINESE else ".md": "markdown"}
pages = {path.name for path in Path(__file__).parent.glob("*.md")}
exclude_patterns = ["_build", *(n for n in pages if n.endswith(".zh-CN.md") != CHINESE)]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # docstrings say shapes, which types do not
default_role = "literal"  # in docstrings `x` is code
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = "anyrnn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_style = "default"

SWITCHES = {"[中文]": ("zh-CN", "中文", "zh/{}.html"), "[English]": ("en", "English", "../{}.html")}


def switch(app: object, docname: str, source: list[str]) -> None:
    """Make the line that names a page's twin a link to it in the other build."""
    for begin, (code, name, address) in SWITCHES.items():
        link = f'<a class="language" lang="{code}" href="{address.format(docname)}">{name}</a>'
        line = rf"^{re.escape(begin)}\([^)]*\)$"
        source[0] = re.sub(line, link, source[0], count=1, flags=re.MULTILINE)


def name_files(app: object, docname: str, source: list[str]) -> None:
    """Name the files that are not pages of the site instead of linking to them."""
    source[0] = re.sub(r"\[([^]]*)\]\(\.\./([^)]*)\)", r"\1, `\2`", source[0])


class SearchChinese(SearchEnglish):
    """English words, and Chinese characters in pairs; Sphinx' own needs a library to find words."""

    lang = "zh"
    js_splitter_code = r"""
function splitQuery(query) {
  return (query.match(/[\u4e00-\u9fff]+|[^\W_][\w]*/g) || []).flatMap(function (word) {
    if (word.length === 1 || /\w/.test(word)) return [word];
    return Array.from({length: word.length - 1}, function (_, i) { return word.slice(i, i + 2); });
  });
}
"""

    def split(self, input: str) -> list[str]:
        found = []
        for word in re.findall(r"[\u4e00-\u9fff]+|[a-zA-Z0-9]\w*", input, re.ASCII):
            pairs = range(len(word) - 1) if word[0] >= "\u4e00" else ()
            found += [word[i : i + 2] for i in pairs] or [word]
        return found


def setup(app: object) -> None:
    app.connect("source-read", switch)
    app.connect("source-read", name_files)
    app.add_search_language(SearchChinese)
