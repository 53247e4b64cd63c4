"""Pictures that lie outside docs/ (the benchmarks write theirs into benchmarks/results) are part of the site too.

Pages name them by their path from the page, so that they are shown wherever the repository is read.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_PICTURE = re.compile(r"(!\[[^\]]*\]\()(\.\./[^)\s]+)(\))")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adds the pictures that a page shows from outside, and changes their paths to those in the site."""
    folder = posixpath.dirname(page.file.src_uri)

    def moved(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found[2]))
        if not path.startswith("../"):
            return found[0]
        name = "outside/" + path.removeprefix("../")
        if files.get_file_from_path(name) is None:
            source = Path(config.docs_dir) / path
            files.append(File.generated(config, name, abs_src_path=str(source)))
        return found[1] + posixpath.relpath(name, folder or ".") + found[3]

    return _PICTURE.sub(moved, markdown)
