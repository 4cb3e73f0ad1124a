#!/usr/bin/env python3
"""Checks that each link of the guides in the built documentation leads to a page and a heading that are there.

usage: doc-links.py DOCUMENTATION    such as target/doc/running_process
"""
import html.parser
import pathlib
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.in_text = set(), [], 0
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        if "docblock" in attributes.get("class", ""):
            self.in_text = True
        if tag == "a" and self.in_text and "href" in attributes:
            self.links.append(attributes["href"])


root = pathlib.Path(sys.argv[1])
pages, faults, checked = {}, [], 0
for path in sorted([root / "index.html", *root.glob("docs/**/*.html")]):
    page = pages.setdefault(path.resolve(), Page(path))
    for link in page.links:
        link = urllib.parse.urlsplit(link)
        # Types of the standard library are elsewhere.
        if link.scheme:
            continue
        checked += 1
        target = (path.parent / urllib.parse.unquote(link.path)).resolve() if link.path else path.resolve()
        if not target.is_file():
            faults.append(f"{path}: {link.geturl()} leads to no page")
        elif link.fragment and "src" not in target.parts:
            found = pages.setdefault(target, Page(target))
            if urllib.parse.unquote(link.fragment) not in found.ids:
                faults.append(f"{path}: {link.geturl()} leads to no heading")
print(*faults, sep="\n")
print(f"{len(faults)} of {checked} links in the documentation lead nowhere")
sys.exit(bool(faults) or not checked)
