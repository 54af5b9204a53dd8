"""Settings of Sphinx; ``make docs`` builds the pages with warnings as errors."""

from __future__ import annotations

import greenshard

project = "greenshard"
author = "The greenshard authors"
copyright = author
version = release = greenshard.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
default_role = "py:obj"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Sections that house style adds to Google's.
napoleon_custom_sections = ["Switches", "Cost", "Source"]

html_theme = "furo"
html_title = f"greenshard {release}"
html_copy_source = False
