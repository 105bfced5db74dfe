"""The site: `make docs` builds it, strictly; `make docs-test` also runs the chapters of the course."""

import logging
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import tl_toolkit  # noqa: E402

project = "tl_toolkit"
author = copyright = "The tl_toolkit developers"
version = release = tl_toolkit.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "_site.directives",
    "_site.docstrings",
    "_site.maths",
    "_site.source_links",
]
root_doc = "index"
exclude_patterns = ["reports/**"]
smartquotes = False
html_theme = "furo"
html_title = "tl_toolkit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_theme_options = {
    "source_repository": "https://github.com/tl-toolkit/tl_toolkit/",
    "source_branch": "main",
    "source_directory": "docs/",
}

# A reference of ours that leads nowhere is an error; those to other libraries are not looked up, which needs a network.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!tl_toolkit\.).*")]
# The list of chapters is a pattern, which may match nothing. (This warning has no type that could be suppressed.)
logging.getLogger("sphinx.sphinx.directives.other").addFilter(lambda record: "didn't match any" not in str(record.msg))

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_fence_as_directive = {"math"}
myst_heading_anchors = 4

default_role = "code"  # as in our docstrings
autodoc_typehints = "none"
autodoc_inherit_docstrings = False  # those of transformers are not ours
napoleon_use_ivar = True
napoleon_custom_sections = [("Class attributes", "params_style")]
autodoc_member_order = "bysource"
copybutton_exclude = ".linenos, .gp, .go"

# The chapters run in docs/course, each in its own kernel; outputs are kept until the code of a chapter changes.
nb_execution_mode = os.environ.get("DOCS_EXECUTION", "off")
nb_execution_cache_path = str(Path(__file__).parents[1] / "build/chapters")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
