"""The pages that are made when the site is built."""

import importlib.util
import re

import pytest

from figment.ops.checking import parameters_model
from figment.ops.config_check import before_steps, pipelines

spec = importlib.util.spec_from_file_location("hooks", "docs/hooks.py")
hooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooks)


def sections(page: str) -> dict[str, str]:
    parts = re.split(r"^#{2,3} (.*)\n", page, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    return sections(hooks.reference())


@pytest.mark.parametrize("name", pipelines())
def test_every_parameter_of_a_pipeline_is_in_the_reference(reference, name):
    function, _ = before_steps(name)
    assert all(f"| `{field}` |" in reference[name] for field in parameters_model(function).model_fields)


@pytest.mark.parametrize(("block", "row"), [
    ("Timm", "| `optimizer` | text | `\"adamw\"` | any of timm's |"),
    ("Timm", "| `crop_scale` | number > 0 and <= 1 | `0.08` | smallest area of a random resized crop"),
    ("Timm", "`steps` | integer > 0 or nothing |  | if given, replaces epochs"),
    ("SynthesisConfig", "| `image_format` | `jpeg` or `png` or `webp` | `\"jpeg\"` |"),
    ("GeneratorConfig", "| `loras` | list of [LoraFile](#lorafile) |"),
    ("GeneratorConfig", "| `model` | text | required | hub id or folder |"),
])  # fmt: skip
def test_a_field_has_its_type_bounds_default_and_comment(reference, block, row):
    assert row in reference[block]


def test_links_of_a_page_at_the_root_lead_into_the_site_or_are_text():
    page = hooks.moved("README.md")
    assert "(tutorial.md)" in page and "(notebook.md)" in page and "(changelog.md)" in page  # noqa: PT018
    assert "](docs/" not in page and "](configs/" not in page and "`configs/paper/cifar10.yaml`" in page  # noqa: PT018


def test_a_cell_shows_what_it_prints_and_its_last_value():
    space: dict = {}
    assert hooks.show("x = 2\nprint('two')\nx + 1", space) == ["two", "3"]
    assert hooks.show("y = x", space) == []
    (image,) = hooks.show("from PIL import Image\nImage.new('RGB', (2, 2))", space)
    assert image.startswith("data:image/png;base64,")


def test_the_notebook_is_cells_of_text_and_code():
    cells = hooks.cells()
    assert cells[0].text.startswith("# A first run")
    assert {cell.code for cell in cells} == {True, False}
    for cell in cells:
        if cell.code:
            compile(cell.text, "cell", "exec")


def test_outputs_of_another_text_are_not_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(hooks, "SHOWN", tmp_path / "shown.json")
    before = hooks.notebook()
    shown = [[f"output {i}"] for i, cell in enumerate(c for c in hooks.cells() if c.code)]
    hooks.write_json(hooks.SHOWN, {"of": hooks.digest(hooks.cells()), "shown": shown})
    assert "output 1" in hooks.notebook()
    hooks.write_json(hooks.SHOWN, {"of": "another", "shown": shown})
    assert hooks.notebook() == before
