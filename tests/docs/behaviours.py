"""Write the table of docs/kubernetes.md from the tests of tests/live/test_api_behaviours.py.

python -m tests.docs.behaviours
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "live" / "test_api_behaviours.py"
PAGE = ROOT / "docs" / "kubernetes.md"
BEGIN, END = "<!-- written by tests/docs/behaviours.py -->\n", "<!-- up to here -->\n"


def table() -> str:
    """Return a row for each test: what it says, and its name."""
    rows = ["| the API server | tested by |", "|---|---|"]
    for node in ast.parse(TESTS.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            said = (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")
            assert said, f"{node.name} has no docstring"
            rows.append(f"| {said.replace('|', ' or ')} | `{node.name}` |")
    return "\n".join(rows) + "\n"


def page() -> str:
    """Return the page as it is to be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
