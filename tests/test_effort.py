import ast
from pathlib import Path

HERE = Path(__file__)


def names(node: ast.AST) -> list[str]:
    return [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]


def test_whatever_tries_some_is_among_what_tries_all() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in HERE.parent.rglob("test_*.py")}
    found = {path: text for path, text in texts.items() if "some_or_all" in text and path != HERE}
    assert len(found) > 5
    for path, text in found.items():
        tree = ast.parse(text)
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        marked = [node for node in functions if "thorough" in map(ast.unparse, node.decorator_list)]
        inside = [names(node).count("some_or_all") for node in marked]
        assert all(inside), path.name
        assert sum(inside) == names(tree).count("some_or_all"), path.name
