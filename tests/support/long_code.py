"""Warning list of long code: files above 600 lines and functions above 40. It refuses nothing; a reader decides.

Run as a program it prints the list for the product's packages: python -m tests.support.long_code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
PACKAGES: Final = ("pipeline", "models", "schemas")
FILE_LINES: Final = 600
FUNCTION_LINES: Final = 40
"""Without the docstring: what explains does not make a function long."""


def warnings(root: Path = ROOT) -> Iterator[str]:
    """Yield a sentence for every file and function of the packages in *root* that is long."""
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root)
        lines = len(text.splitlines())
        if lines > FILE_LINES:
            yield f"{name}: {lines} lines, above {FILE_LINES}: is it one idea?"
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = _length(function)
                if lines > FUNCTION_LINES:
                    yield f"{name}:{function.lineno}: {function.name}() has {lines} lines, above {FUNCTION_LINES}"


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of *function*, its docstring left out."""
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    documented = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring is not None else 0
    return (function.end_lineno or 0) - function.lineno + 1 - documented


if __name__ == "__main__":
    for warning in warnings():
        print(f"warning: {warning}")
