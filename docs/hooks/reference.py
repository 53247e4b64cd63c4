"""Pages of the reference that are made from the code at every build: HTTP, settings, commands and recipes."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from docs.hooks.commands import commands_page
from docs.hooks.http_api import http_page
from docs.hooks.tables import recipes_page, settings_page

PAGES = {
    "reference/http.md": http_page,
    "reference/settings.md": settings_page,
    "reference/commands.md": commands_page,
    "reference/recipes.md": recipes_page,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds them, as if they lay in the folder."""
    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    return files
