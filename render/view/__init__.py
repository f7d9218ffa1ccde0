"""Look at an output folder in a browser: images, walks, marks, the night. On this machine only, and read lazily.

`serve` serves the pages (starlette and uvicorn); `write_static` writes pages that open from disk. What is shown is asked
of the catalog. Pages are Jinja2 templates in `pages/`; `static/` has the style, the script, htmx and a comparison slider,
all served by the site itself.

Promises: no text of a store or an address is markup, script or SQL; nothing but marks is written; memory does not grow
with the number of images.
"""

from __future__ import annotations

from render.view.server import serve
from render.view.static_pages import write_static

__all__ = ["serve", "write_static"]
