"""Settings of the docs site, which `make docs` builds. Sphinx reads this file; its pages are Markdown."""

from __future__ import annotations

from pixelmeter import __version__

project = "pixelmeter"
project_copyright = "The pixelmeter developers"
version = release = __version__

# The site's source is the repository as it is, so a link between two files leads to the same place in both.
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "examples/README.md"]
exclude_patterns = [".*", "build", "dist", "src", "tests"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "scripts.site.docstrings", "scripts.site.pages"]

myst_heading_anchors = 4
smartquotes = False

# What `docstrings` leaves in single backticks: a link where it names something of the API.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
toc_object_entries = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"pixelmeter {__version__}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
