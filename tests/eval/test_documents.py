"""The tables of the documents are those that the rows of the runs make."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("pandas")

from imgcodec.eval.documents import bd_rates, held_out, means, with_tables
from imgcodec.eval.results import COLUMNS, write_csv
from tests.eval.rows import ladder


@pytest.mark.parametrize("name", ["README.md", "MODELS.md", "eval/results/README.md"])
def test_tables_are_those_of_the_rows(root, name, monkeypatch):
    monkeypatch.chdir(root)
    if not (root / name).is_file():
        pytest.skip("make results has not been run")
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


def test_means_of_groups_in_the_order_of_the_file(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text(
        "codec,setting,bpp,fits\nb,q=9,0.5,True\na,q=9,0.5,True\nb,q=10,1,True\nb,q=9,0.25,False\n"
    )
    table = means(
        str(file),
        {"setting": "at", "codec": "who"},
        {
            "bits": "{bits:.2f}",
            "most": "{max[bpp]:.1f}",
            "fit": "{sum[fits]:.0f} of {count}, {fits:.0%}",
        },
        derive={"bits": "8 * bpp"},
        labels={"b": "bee"},
    )
    assert table == [
        ["at", "who", "bits", "most", "fit"],
        ["q=9", "bee", "3.00", "0.5", "1 of 2, 50 %"],
        ["q=9", "a", "4.00", "0.5", "1 of 1, 100 %"],
        ["q=10", "bee", "8.00", "1.0", "1 of 1, 100 %"],
    ]


def test_a_codec_against_an_earlier_run(tmp_path):
    def file(name, **scales):
        rows = [
            dict.fromkeys(COLUMNS, "") | row
            for codec, scale in scales.items()
            for row in ladder(codec, scale, lambda step: {"psnr": 30.0 + step})
        ]
        write_csv(tmp_path / name, rows)
        return str(tmp_path / name)

    old = file("old.csv", mine=1.0, other=2.0)
    line = {"rows": file("new.csv", mine=0.5, other=0.5), "baseline": old, "codec": "mine"}
    lines = {"itself": line, "the other": line | {"anchor": "other"}}
    table = [["BD-rate", "PSNR"], ["itself", "-50.0 %"], ["the other", "-75.0 %"]]
    assert bd_rates(["psnr"], lines) == table


# Tables of words: families, commands, formats.
WORDS = {"README.md": {"family (`-m`)", "command", "formats"}, "MODELS.md": set()}


@pytest.mark.parametrize("name", WORDS)
def test_no_table_of_numbers_is_typed_by_hand(root, name):
    typed = re.sub(
        r"<!-- table: .*?<!-- end of table -->", "", (root / name).read_text(), flags=re.S
    )
    headers = re.findall(r"^\|(.*?)\|.*\n\|[-:| ]+\|$", typed, re.MULTILINE)
    assert {header.strip() for header in headers} == WORDS[name]


def test_no_line_stands_in_two_documents(root):
    seen: dict[str, str] = {}
    for name in ("README.md", "CONTRIBUTING.md", "SPEC.md", "MODELS.md"):
        lines = {line.strip() for line in (root / name).read_text().splitlines()}
        for line in lines - {"", "<!-- end of table -->"}:
            if not re.fullmatch(r"[-| ]+", line):
                assert line not in seen, f"{name} and {seen[line]}"
                seen[line] = name
