"""How Sphinx builds the docs: `make docs`."""

import builtins
import sys
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon.docstring import GoogleDocstring

import podfleet

project = "podfleet"
author = "The podfleet authors"
copyright = author
html_title = project
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["wide.css"]
pygments_dark_style = "github-dark"  # furo's own underlines modules, as if they were links

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "py:obj"

# Types of others are not linked: their docs are on the network, and a build needs none.
_PACKAGES = {"attrs", "kubernetes", "aiohttp", "opentelemetry", "prometheus_client"}
_OTHERS = "|".join(sorted(_PACKAGES | sys.stdlib_module_names))
nitpick_ignore_regex = [
    (r"py:class", r"podfleet\.fleet\.events\.stream\.Events"),  # private: who makes a stream
    (r"py:.*", rf"({_OTHERS})(\..*)?"),
    (r"py:class", r"(podfleet\..*)?\b_\w+"),  # private protocols and type variables in signatures
    (r"py:class", r"Path|_pytest\..*"),
    (r"py:.*", "|".join(name for name in dir(builtins) if not name.startswith("_"))),
]


def link_by_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Link ``podfleet.model.port.Port`` to ``podfleet.Port``, where it is documented."""
    name = str(node["reftarget"]).rpartition(".")[2]
    if name not in podfleet.__all__:
        return None
    domain: Any = env.get_domain("py")
    found: nodes.reference | None = domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"podfleet.{name}", node, content
    )
    return found


class AttributeDocstrings:
    """Read an attribute's docstring as a method's: napoleon reads ``Ready: nobody has it.`` as a
    type and a text, and knows no sections there. So it is kept away from them.
    """

    def __init__(self) -> None:
        self.read: dict[str, list[str]] = {}

    def before_napoleon(
        self, app: Sphinx, what: str, name: str, member: Any, options: Any, lines: list[str]
    ) -> None:
        if what in ("attribute", "property"):
            docstring = GoogleDocstring(lines, app.config, app, "method", name, member, options)
            self.read[name] = docstring.lines()
            lines.clear()

    def after_napoleon(
        self, app: Sphinx, what: str, name: str, member: Any, options: Any, lines: list[str]
    ) -> None:
        lines.extend(self.read.pop(name, ()))


def setup(app: Sphinx) -> None:
    """Register what is above."""
    app.connect("missing-reference", link_by_public_name)
    attributes = AttributeDocstrings()
    app.connect("autodoc-process-docstring", attributes.before_napoleon, priority=100)
    app.connect("autodoc-process-docstring", attributes.after_napoleon, priority=900)
