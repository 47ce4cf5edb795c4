"""Pages that are made when the site is built: the README as its home, the reference of configs from their models, the notebook.

python docs/hooks.py    # runs the notebook and keeps what it shows, which the next build puts into the page
"""

import ast
import base64
import contextlib
import inspect
import io
import json
import re
import sys
import textwrap
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from figment.files import digest, write_json  # noqa: E402
from figment.ops.checking import models_of, parameters_model  # noqa: E402
from figment.ops.config_check import before_steps, pipelines  # noqa: E402
from figment.ops.environment import load_environment  # noqa: E402
from figment.recipes.base import Recipe  # noqa: E402

NOTEBOOK = ROOT / "docs" / "notebook.py"
SHOWN = ROOT / ".figment" / "notebook.json"
MOVED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:]+)(#[^)]*)?\)")
BOUNDS = {"exclusiveMinimum": ">", "gt": ">", "minimum": ">=", "ge": ">=", "exclusiveMaximum": "<", "lt": "<",
          "maximum": "<=", "le": "<="}  # fmt: skip


def on_files(files: Any, config: Any) -> Any:
    """What MkDocs calls when it knows the files of docs/."""
    from mkdocs.structure.files import File

    pages = {page: moved(name) for name, page in MOVED.items()}
    for name, text in {**pages, "configs.md": reference(), "notebook.md": notebook()}.items():
        files.append(File.generated(config, name, content=text))
    return files


def moved(name: str) -> str:
    """A file of the repository's root as a page: links into docs/ lead to its pages, those to other files are their text."""

    def link(found: re.Match[str]) -> str:
        image, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        page = target.removeprefix("docs/").replace(".py", ".md") if target.startswith("docs/") else MOVED.get(target)
        return f"{image}[{text}]({page}{anchor})" if page else f"`{target}`"

    return LINK.sub(link, (ROOT / name).read_text(encoding="utf-8"))


def reference() -> str:
    """All fields of all configs."""
    lines = [
        "# Config reference",
        "",
        "`figment check CONFIG` names each field that is wrong, with an example of what would be right.",
    ]
    blocks: dict[str, Any] = {}
    classes: dict[str, type] = {}
    for name in pipelines():
        function, _ = before_steps(name)
        model = parameters_model(function)
        schema = model.model_json_schema()
        notes = comments(model) if issubclass(model, Recipe) else {}
        blocks |= schema.get("$defs", {})
        classes |= {inner.__name__: inner for inner in within(model)}
        lines += [
            "",
            f"## {name}",
            "",
            f"The `parameters:` of `pipelines/{name}.py`.",
            "",
            *table(schema, notes, blocks),
        ]
    lines += ["", "## Blocks"]
    for name, schema in sorted(blocks.items()):
        notes = comments(classes[name]) if name in classes else {}
        lines += ["", f"### {name}", "", schema.get("description", ""), "", *table(schema, notes, blocks)]
    return "\n".join(lines) + "\n"


def within(model: Any) -> Iterator[type]:
    """The models that the fields of a model hold, at any depth."""
    for field in model.model_fields.values():
        for inner in models_of(field):
            yield inner
            yield from within(inner)


def table(schema: Mapping[str, Any], notes: Mapping[str, str], blocks: Mapping[str, Any]) -> list[str]:
    """A Markdown table of the fields of a JSON schema."""
    columns = ["field", "value", "default", *(["meaning"] if any(notes.values()) else [])]
    rows = [columns, ["---"] * len(columns)]
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in schema.get("required", ()) else shown_default(field, blocks)
        cells = (f"`{name}`", kind(field), default, notes.get(name, ""))
        rows.append([cell.replace("|", "&#124;").replace("\n", " ") for cell in cells[: len(columns)]])
    return [f"| {' | '.join(row)} |" for row in rows]


def kind(schema: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if parts := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(kind, parts)))
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}" if "items" in schema else "list"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"mapping of names to {kind(inner)}" if isinstance(inner, dict) else "mapping"
    names = {"null": "nothing", "string": "text", "boolean": "true or false"}
    bounds = [
        f"{sign} {schema[key]:g}" for key, sign in BOUNDS.items() if key in schema and abs(schema[key]) < 2**31 - 1
    ]
    return " ".join(
        [names.get(schema.get("type", ""), schema.get("type", "any")), *([" and ".join(bounds)] if bounds else [])]
    )


def shown_default(field: Mapping[str, Any], blocks: Mapping[str, Any]) -> str:
    """A default as YAML; of a block what differs from the block's own defaults."""
    value = field.get("default")
    if isinstance(value, dict) and "$ref" in field:
        own = blocks[field["$ref"].rpartition("/")[2]]["properties"]
        value = {name: inner for name, inner in value.items() if own[name].get("default", ...) != inner}
    return "" if value is None or value == {} else f"`{json.dumps(value, ensure_ascii=False)}`"


def comments(model: type) -> dict[str, str]:
    """The comments above and beside the fields of a model and of its bases."""
    found: dict[str, str] = {}
    for base in reversed([each for each in model.__mro__ if each.__module__.startswith("figment")]):
        source = textwrap.dedent(inspect.getsource(base))
        remarks = {
            token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                first = node.lineno
                while remarks.get(first - 1, ("", False))[1]:
                    first -= 1
                own = [remarks[line][0] for line in range(first, node.end_lineno + 1) if line in remarks]  # type: ignore[operator]
                found[node.target.id] = " ".join(text for text in own if text not in ("fmt: skip", "noqa"))
    return found


class Cell(NamedTuple):
    """A part of the notebook: ``code``, or Markdown."""

    code: bool
    text: str


def cells() -> list[Cell]:
    """Those of notebook.py, in the percent format of Jupytext: editors and `jupytext --to ipynb` read it."""
    parts = re.split(r"^# %%(.*)\n", NOTEBOOK.read_text(encoding="utf-8"), flags=re.M)[1:]
    found = []
    for kind_of, text in zip(parts[::2], parts[1::2], strict=True):
        code = "[markdown]" not in kind_of
        found.append(Cell(code, text.strip() if code else re.sub(r"^# ?", "", text, flags=re.M).strip()))
    return found


def notebook() -> str:
    """The page: each cell, and what it showed when the notebook was last run as it is."""
    kept = json.loads(SHOWN.read_text(encoding="utf-8")) if SHOWN.is_file() else {}
    shown = iter(kept["shown"] if kept.get("of") == digest(cells()) else [])
    lines = []
    for cell in cells():
        if not cell.code:
            lines.append(cell.text)
            continue
        lines.append(f"```python\n{cell.text}\n```")
        for text in next(shown, []):
            lines.append(f"![what the cell shows]({text})" if text.startswith("data:") else f"```text\n{text}\n```")
    return "\n\n".join(lines) + "\n"


def run_notebook() -> None:
    """Run all cells in this process and keep what they print, and the value or image of their last lines."""
    space: dict[str, Any] = {"__name__": "notebook"}
    shown = [show(cell.text, space) for cell in cells() if cell.code]
    write_json(SHOWN, {"of": digest(cells()), "shown": shown})


def show(code: str, space: dict[str, Any]) -> list[str]:
    """Text and images, as data URIs, that a cell shows."""
    from PIL import Image

    tree = ast.parse(code)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, str(NOTEBOOK), "exec"), space)
        value = eval(compile(last, str(NOTEBOOK), "eval"), space) if last else None
    found = [printed.getvalue().rstrip()] if printed.getvalue().strip() else []
    if isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.save(buffer, "PNG")
        found.append(f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}")
    elif value is not None:
        found.append(repr(value))
    return found


if __name__ == "__main__":
    load_environment()
    run_notebook()
