"""The documents: every page has a Chinese twin with the same examples; links lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUFFIX = ".zh-CN.md"
PAGES = [
    path
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "examples/*/*.md")
    for path in sorted(ROOT.glob(pattern))
    if not path.name.endswith(SUFFIX)
]
BLOCK = re.compile(r"^```(\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def twin(page: Path) -> Path:
    return page.with_name(page.name.removesuffix(".md") + SUFFIX)


def examples(page: Path) -> list[tuple[str, str]]:
    """The blocks of a page, without what is said in its language: comments and docstrings."""
    found = []
    for kind, block in BLOCK.findall(page.read_text("utf-8")):
        if kind == "python":
            tree = ast.parse(block)
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                    node.body = node.body[1:]
            block = ast.unparse(tree)
        elif kind == "sh":
            block = re.sub(r"\s*#.*", "", block)
        found.append((kind, "" if kind == "text" else block))
    return found


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@each_page
def test_a_page_has_a_twin_with_the_same_examples(page: Path) -> None:
    assert examples(twin(page)) == examples(page)
    assert len(anchors(twin(page))) == len(anchors(page))
    assert f"[中文]({twin(page).name})" in page.read_text("utf-8")
    assert f"[English]({page.name})" in twin(page).read_text("utf-8")


@each_page
def test_links_lead_somewhere_in_the_same_language(page: Path) -> None:
    for source, other in ((page, twin(page)), (twin(page), page)):
        for link in LINK.findall(BLOCK.sub("", source.read_text("utf-8"))):
            name, _, anchor = link.partition("#")
            if "://" in link:
                continue
            target = (source.parent / name).resolve() if name else source
            assert target.exists(), f"{source.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{source.name}: {link}"
            if target != other and target.suffix == ".md" and source.name.endswith(SUFFIX):
                assert target.name.endswith(SUFFIX) or not twin(target).exists(), link


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_is_short(name: str) -> None:
    assert len((ROOT / name).read_text("utf-8").splitlines()) <= 150
