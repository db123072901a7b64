"""The shape of the project: packaging, import layers, a light command line, make targets."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP_FOLDERS = ("imgcodec", "cli", "codec", "configs", "datasets", "eval", "web")

# Imports only point down: a module may import from its own layer's folder and from lower ranks.
# Modules of equal rank in different folders do not know each other.
RANKS = {
    "imgcodec.cli": 12,
    "imgcodec.eval": 11,
    "imgcodec.datasets": 10,
    "imgcodec.web": 10,
    "imgcodec.codec.previews": 9,
    "imgcodec.codec.api": 8,
    "imgcodec.codec.training": 7,
    "imgcodec.codec.session": 6,
    "imgcodec.codec.weights": 5,
    "imgcodec.codec.models": 4,
    "imgcodec.codec.nets": 3,
    "imgcodec.codec.families": 2,
    "imgcodec.codec.picture": 2,
    "imgcodec.codec.options": 2,
    "imgcodec.codec.numeric": 1,
    "imgcodec.codec.stream": 1,
    "imgcodec.codec.strict": 1,
    "imgcodec.codec.errors": 0,
    "imgcodec.codec.files": 0,
    "imgcodec.codec": 0,
    "imgcodec.configs": 0,
    "imgcodec": 0,
}

# Third-party packages that a layer must never import, not even inside a function.
BANNED = {
    "imgcodec.codec.nets": {"constriction", "PIL"},
    "imgcodec.codec.models": {"constriction", "PIL"},
    "imgcodec.codec.families": {"torch", "constriction", "PIL"},
    "imgcodec.codec.numeric": {"constriction", "PIL"},
    "imgcodec.codec.stream": {"torch", "PIL"},
    "imgcodec.codec.session.inspection": {"torch"},
    "imgcodec.codec.weights.installed": {"torch"},
    "imgcodec.codec.options": {"torch"},
    "imgcodec.codec.picture": {"torch"},
    "imgcodec.codec": {"torchvision", "lpips", "pandas", "matplotlib", "imagecodecs"},
}

HEAVY = {"torch", "numpy", "pandas", "matplotlib", "PIL", "constriction", "safetensors", "yaml"}


def _packages(root: Path) -> dict[str, str]:
    """Return the package_dir of setup.cfg: package name to folder."""
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    lines = config["options"]["package_dir"].strip().splitlines()
    listed = config["options"]["packages"].split()
    mapping = dict(re.split(r"\s*=\s*", line.strip()) for line in lines)
    assert sorted(mapping) == sorted(listed)
    return mapping


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield (dotted name, file) of every module of the package."""
    for package, folder in _packages(root).items():
        for file in sorted((root / folder).glob("*.py")):
            yield (package if file.stem == "__init__" else f"{package}.{file.stem}"), file


@cache
def _imports(file: Path) -> tuple[tuple[str, int], ...]:
    """Return (dotted name, line) of what a file imports anywhere, but for type checking."""
    return tuple(_imports_of(ast.parse(file.read_text()), file))


def _imports_of(tree: ast.Module, file: Path) -> Iterator[tuple[str, int]]:
    skipped = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for child in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute here"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def _layer(name: str) -> str:
    """Return the layer of a dotted name: its longest prefix in RANKS."""
    while name not in RANKS:
        name = name.rpartition(".")[0]
    return name


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_folders_match_setup_cfg(root: Path) -> None:
    found = {
        str(file.parent.relative_to(root).as_posix())
        for top in TOP_FOLDERS
        for file in (root / top).rglob("*.py")
        if "node_modules" not in file.parts
    }
    assert found == set(_packages(root).values())


def test_every_package_has_an_init(root: Path) -> None:
    missing = [f for f in _packages(root).values() if not (root / f / "__init__.py").is_file()]
    assert missing == []


def test_every_codec_module_has_a_layer(root: Path) -> None:
    strangers = [
        name
        for name, _ in _modules(root)
        if _layer(name) == "imgcodec.codec" and name != "imgcodec.codec"
    ]
    assert strangers == [], "give these modules a rank in RANKS"


def test_no_modules_import_each_other_in_a_circle(root: Path) -> None:
    """Inside functions counts as well: a late import hides a circle, it does not break it."""
    modules = dict(_modules(root))
    graph = {}
    for name, file in modules.items():
        targets = {_module(target, modules) for target, _ in _imports(file)}
        graph[name] = targets - {None, name}
    while leaves := [name for name, targets in graph.items() if not targets & graph.keys()]:
        for name in leaves:
            del graph[name]
    # What is left imports, or is imported by, a circle.
    circles = {name: sorted(targets & graph.keys()) for name, targets in graph.items()}
    assert circles == {}


def _module(name: str, modules: dict[str, Path]) -> str | None:
    """Return the module that a dotted name lies in."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def test_long_files_say_why(root: Path) -> None:
    """Of one public idea a file, 300 lines are plenty; what is longer has a reason."""
    for _, file in _modules(root):
        lines = file.read_text().splitlines()
        if len(lines) > 300:
            head = lines[: lines.index("from __future__ import annotations")]
            assert any(line.startswith("# Long because ") for line in head), file


def test_types_are_shipped(root: Path) -> None:
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    assert config["options.package_data"]["imgcodec"].split() == ["py.typed"]
    assert (root / "imgcodec" / "py.typed").exists()


def test_imports_only_point_down(root: Path) -> None:
    wrong = []
    for name, file in _modules(root):
        layer = _layer(name)
        if layer == "imgcodec":
            continue  # the face re-exports on first use
        for target, line in _imports(file):
            if not _is_within(target, "imgcodec"):
                continue
            other = _layer(target)
            if other != layer and RANKS[other] >= RANKS[layer]:
                wrong.append(f"{file.relative_to(root)}:{line} imports {target}")
    assert wrong == []


def test_no_layer_imports_what_it_must_not_need(root: Path) -> None:
    wrong = []
    for name, file in _modules(root):
        banned = set().union(*(names for layer, names in BANNED.items() if _is_within(name, layer)))
        wrong += [
            f"{file.relative_to(root)}:{line} imports {target}"
            for target, line in _imports(file)
            if target.partition(".")[0] in banned
        ]
    assert wrong == []


def test_one_module_alone_imports_constriction(root: Path) -> None:
    """It has no wheel everywhere; whoever needs a coder asks `codec.stream.backends` for it."""
    knowing = {
        name
        for name, file in _modules(root)
        for target, _ in _imports(file)
        if _is_within(target, "constriction")
    }
    assert knowing == {"imgcodec.codec.stream.constricted"}


def test_import_test_sees_a_wrong_import(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("def f():\n    from imgcodec.codec import api\n    import torch.nn\n")
    assert _imports(file) == (("imgcodec.codec.api", 2), ("torch.nn", 3))
    assert _layer("imgcodec.codec.api") == "imgcodec.codec.api"
    assert RANKS[_layer("imgcodec.codec.api.encode")] > RANKS[_layer("imgcodec.codec.nets.exact")]


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["encode", "--help"]])
def test_help_imports_nothing_heavy(root: Path, args: list[str]) -> None:
    code, loaded = _packages_loaded_by(root, args)
    assert code == 0
    assert "click" in loaded
    assert loaded & HEAVY == set()


def _packages_loaded_by(root: Path, args: list[str]) -> tuple[int, set[str]]:
    """Return the exit code of a command line in a process of its own, and what it imported."""
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('LOADED', *sys.modules, file=sys.stderr))\n"
        "from imgcodec.cli.main import cli\n"
        f"cli({args!r})\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
    told, _, loaded = result.stderr.rpartition("LOADED")
    assert "Traceback" not in told, told
    return result.returncode, {name.partition(".")[0] for name in loaded.split()}


WITHOUT_A_MODEL = (
    ["models"],
    ["inspect", "tests/golden/beta-base-2/waves-q60.cvb"],
    ["encode", "tests/golden/beta-base-2/golden.json", "README.md"],
    ["encode", "README.md", "-m", "nosuch"],
    ["encode", "README.md", "--level-bits", "nosuch"],
    ["encode", "README.md", "--metadata", "nosuch"],
    ["encode", "README.md", "-q", "60", "--target-bytes", "40k"],
    ["encode", "no-such-file.png"],
    ["encode", "README.md"],
    ["decode", "no-such-file.cvb"],
    ["decode", "tests/golden/beta-base-2/waves-q60.cvb", "README.md"],
    ["decode", "tests/golden/beta-base-2/waves-q60.cvb", "x.nosuch"],
    ["decode", "tests/golden/beta-base-2/waves-q60.cvb", "x.png", "-m", "nosuch"],
    ["preview", "no-such-file.cvb"],
    ["sample", "-m", "nosuch", "x.png"],
    ["codebook", "-m", "nosuch", "x.png"],
    ["levels", "-m", "nosuch"],
    ["datasets", "list"],
    ["bench", "--codecs", "nosuch"],
    ["bench", "--codecs", ","],
    ["match", "--codec", "nosuch"],
    ["compare", "README.md", "--codecs", "jpeg,nosuch"],
)


ONE_AFTER_THE_OTHER = """
import sys
from imgcodec.cli.main import cli
for args in eval(sys.argv[1]):
    try:
        cli(args)
    except SystemExit:
        print("ANSWERED", file=sys.stderr)
    assert "torch" not in sys.modules, args
"""


def test_answers_that_need_no_model_come_without_torch(root: Path) -> None:
    """One process gives all of them: the first to import torch is named."""
    result = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, repr(WITHOUT_A_MODEL)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("ANSWERED") == len(WITHOUT_A_MODEL)


def test_help_takes_less_than_300_ms(root: Path) -> None:
    """Processor time, since other processes may share the machine with the tests."""

    def children_s() -> float:
        times = os.times()
        return times.children_user + times.children_system

    seconds = []
    for _ in range(5):
        start = children_s()
        subprocess.run(
            [sys.executable, "-m", "imgcodec", "--help"], cwd=root, check=True, capture_output=True
        )
        seconds.append(children_s() - start)
    assert 0 < min(seconds) < 0.3


def test_package_is_importable_from_a_checkout_without_installation(root: Path) -> None:
    code = "import imgcodec, imgcodec.codec.errors as e; print(imgcodec.CodecError is e.CodecError)"
    result = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "True"


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            ["codec.api"],
            ("constriction", "torchvision", "lpips", "pandas", "matplotlib", "imagecodecs"),
        ),
        (
            ["codec.training.loop", "codec.training.export", "datasets.shards"],
            ("constriction", "torchvision", "lpips", "pandas", "matplotlib", "imagecodecs"),
        ),
    ],
    ids=["coding", "training"],
)
def test_runs_without_what_it_does_not_need(
    root: Path, modules: list[str], absent: tuple[str, ...]
) -> None:
    code = f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n"
    code += "".join(f"import imgcodec.{module}\n" for module in modules)
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


CODING_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import numpy as np
import imgcodec
rows, columns = np.mgrid[0:70, 0:90]
picture = np.stack([rows * 3, columns * 2, rows + columns], -1).astype(np.uint8)
for model in ("beta", "hier", "vq", "cv", "convvae"):
    data = imgcodec.encode(picture, model=model)
    assert imgcodec.decode(data).size == (90, 70)
    assert imgcodec.inspect(data, verify=True).passes
    assert len(list(imgcodec.preview(data)))
imgcodec.decode(imgcodec.encode(picture), decoder="natural")
try:
    imgcodec.encode(picture, effort=2)
except imgcodec.MissingPackageError as error:
    assert "pip install 'imgcodec[torch]'" in str(error)
else:
    raise AssertionError("effort needs torch")
"""


def test_files_are_coded_without_torch(root: Path) -> None:
    environment = {**os.environ, "IMGCODEC_BACKEND": "auto"}
    subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", CODING_WITHOUT_TORCH],
        cwd=root,
        env=environment,
        check=True,
    )


def test_walks_are_imported_without_torch(root: Path) -> None:
    code = "import sys\n"
    code += "import imgcodec.codec.families.registry, imgcodec.codec.api\n"
    code += "assert not {'torch', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def test_public_face_offers_what_it_lists() -> None:
    import imgcodec

    assert set(imgcodec.__all__) <= set(dir(imgcodec))
    for name in imgcodec.__all__:
        assert getattr(imgcodec, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'encodes'"):
        _ = imgcodec.encodes


def test_make_help_lists_every_target(root: Path) -> None:
    result = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = {line.split()[0] for line in result.stdout.splitlines()}
    phony = re.search(r"^\.PHONY: (.+)$", (root / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert listed == set(phony.group(1).split())
    assert {"help", "install", "demo", "test", "lint", "format", "train", "bench"} <= listed


def test_every_exception_of_the_codec_is_public(root: Path) -> None:
    """Users catch what they can import: no private class of exception, and all in `__all__`."""
    import imgcodec

    homes = {}
    for name, file in _modules(root):
        for node in ast.walk(ast.parse(file.read_text())):
            bases = (
                [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else ()
            )
            if any(base.endswith(("Error", "Exception")) for base in bases):
                homes[node.name] = name
    errors = {name for name, home in homes.items() if home == "imgcodec.codec.errors"}
    assert len(errors) > 5
    assert errors <= set(imgcodec.__all__)
    private = {name for name in homes if name.startswith("_")}
    assert {name for name in private if _is_within(homes[name], "imgcodec.codec")} == set()
