"""Imports go one way: a module imports from its own layer or from one below."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "podfleet"

# Bottom to top; a layer is a file or a folder of the package. Peers do not import each other.
LAYERS = (
    {"chance", "diagnosis", "gameserver", "phase"},
    {"errors", "log"},
    {"model"},
    {"ports", "scaling"},
    {"exposure"},
    {"kube", "manifests"},
    {"waiters"},
    {"fleet"},
    {"sync"},
    {"metrics", "tracing"},
    {"local"},
    {"bench", "demo", "testing"},
    {"cli"},
    {"__main__"},
)
HEIGHT = {layer: height for height, peers in enumerate(LAYERS) for layer in peers}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_layers(path: Path) -> Iterator[str]:
    for node in ast.walk(without_typing_imports(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "podfleet":
                yield rest.partition(".")[0]


def without_typing_imports(module: ast.Module) -> ast.Module:
    """Drop what only type checkers read: a name in an annotation is no dependency."""

    class Drop(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST:
            is_typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return ast.Pass() if is_typing else self.generic_visit(node)

    dropped = Drop().visit(module)
    assert isinstance(dropped, ast.Module)
    return dropped


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_layers_below(path: Path) -> None:
    own = layer_of(path)
    assert own in HEIGHT, f"say in LAYERS where {own} stands"
    for layer in imported_layers(path):
        assert layer == own or HEIGHT.get(layer, len(LAYERS)) < HEIGHT[own], (
            f"{own} imports podfleet.{layer}, which is not below it"
        )
