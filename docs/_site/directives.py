"""Directives that insert what is generated from the code.

`verbs` describes each verb and the groups of flags that it takes, `flags` all flags of the toolkit by group,
`training-arguments` those of transformers, `fields CONFIGURATION` the fields of a model configuration, and
`modules PACKAGE` every module of a package.
"""

import pkgutil
from importlib import import_module

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from .listings import fields_table, flag_sections, inherited_flags, options, verb_sections


def _module_sections(package: str) -> str:
    names = sorted(module.name for module in pkgutil.iter_modules(import_module(package).__path__))
    return "\n\n".join(f"## {name}\n\n{_automodule(f'{package}.{name}')}" for name in names)


def _automodule(name: str) -> str:
    return f"```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n   :ignore-module-all:\n   :show-inheritance:\n```"


MAKERS = {
    "verbs": verb_sections,
    "flags": flag_sections,
    "training-arguments": lambda: options(inherited_flags().values()),
    "fields": fields_table,
    "modules": _module_sections,
}


class Generated(SphinxDirective):
    """Inserts the MyST that a function makes from the arguments of the directive."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(MAKERS[self.name](*self.arguments), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    for name in MAKERS:
        app.add_directive(name, Generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
