"""Configuration of the documentation site: Markdown pages of this folder and pages generated from the code.

``python -m sphinx -W --keep-going -b html docs build/site`` writes it; a warning is an error.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import generated_pages  # noqa: E402 - the path above comes first

project = "towntwin"
author = "the towntwin authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "towntwin"
html_static_path: list[str] = []
exclude_patterns = ["reference/*.txt"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": True}
napoleon_google_docstring = False
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # attributes of the same name in several classes

generated_pages.write(HERE / "reference")
