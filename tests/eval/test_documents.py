"""The tables of the documents are those that the rows of the runs make."""

from __future__ import annotations

import pytest

pytest.importorskip("pandas")

from imgcodec.eval.documents import held_out, with_tables


@pytest.mark.parametrize("name", ["README.md", "MODELS.md"])
def test_tables_are_those_of_the_rows(root, name, monkeypatch):
    monkeypatch.chdir(root)
    text = (root / name).read_text()
    assert "<!-- table:" in text
    assert with_tables(text) == text, "make tables"


def test_numbers_typed_by_hand_are_replaced(tmp_path):
    file = tmp_path / "validation.csv"
    file.write_text(
        "step,kind,quality,loss\n10,photos,40,0.25\n10,photos,70,0.5\n20,photos,40,0.2\n"
    )
    assert held_out(str(file)) == [
        ["step", "photos 40", "photos 70"],
        ["10", "0.250", "0.500"],
        ["20", "0.200", ""],
    ]
    begin, end = f"<!-- table: {{kind: held-out, file: {file}}} -->\n", "<!-- end of table -->"
    made = with_tables(f"a\n{begin}| 99 |\n{end}\nb\n")
    assert made.startswith(f"a\n{begin}| step | photos 40 | photos 70 |\n| --- | --- | --- |\n")
    assert made.endswith(f"| 20 | 0.200 |  |\n{end}\nb\n")
    assert with_tables(made) == made
