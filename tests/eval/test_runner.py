"""The runner: same rows however it is run, errors kept to their row, resume after a kill."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgcodec.eval import measure, runner
from imgcodec.eval.anchors.registry import get_codec
from imgcodec.eval.memory import peak_memory
from imgcodec.eval.metrics import create_metrics
from imgcodec.eval.results import COLUMNS
from imgcodec.eval.runner import Bench, BenchPlan, Progress, run_bench, thin

ROOT = Path(__file__).resolve().parents[2]
TIMED = {
    "encode_s",
    "decode_s",
    "encode_mp_s",
    "decode_mp_s",
    "peak_memory_bytes",
}


@pytest.fixture
def photos(tmp_path: Path, photo_like) -> Path:
    """A folder with three pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(np.roll(photo_like, 40 * index, axis=1)[: 96 - index]).save(
            folder / f"{index}.png"
        )
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def untimed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{key: row[key] for key in row if key not in TIMED} for row in rows]


def plan_of(photos: Path, *codecs: str, **options: object) -> BenchPlan:
    return BenchPlan(str(photos), codecs or ("jpeg@10,50", "webp@5,75"), ("psnr",), **options)


def test_one_row_per_image_codec_and_setting(photos: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    errors = run_bench(plan_of(photos), tmp_path / "rows.csv", progress=seen.append)
    rows = read(tmp_path / "rows.csv")
    assert errors == 0
    assert list(rows[0]) == list(COLUMNS)
    assert [(r["image"], r["codec"], r["setting"]) for r in rows] == [
        (f"{index}.png", codec, setting)
        for index in range(3)
        for codec, setting in (
            ("jpeg", "q=10"),
            ("jpeg", "q=50"),
            ("webp", "q=5"),
            ("webp", "q=75"),
        )
    ]
    assert {row["status"] for row in rows} == {"ok"}
    assert [entry.done for entry in seen] == list(range(1, 13))


def test_row_holds_the_truth_about_the_file(photos: Path, tmp_path: Path) -> None:
    run_bench(plan_of(photos, "jpeg@50", num_images=1), tmp_path / "rows.csv")
    (row,) = read(tmp_path / "rows.csv")
    rgb = np.asarray(Image.open(photos / "0.png"))
    data = get_codec("jpeg").encode(rgb, 50)
    assert int(row["bytes"]) == len(data)
    assert (int(row["width"]), int(row["height"])) == (256, 96)
    assert float(row["bpp"]) == pytest.approx(len(data) * 8 / (256 * 96))
    assert float(row["ratio"]) == pytest.approx(256 * 96 * 3 / len(data))
    assert float(row["encode_mp_s"]) == pytest.approx(0.256 * 0.096 / float(row["encode_s"]))
    assert row["payload_bpp"] == row["lpips"] == row["error"] == ""


def test_workers_make_the_same_rows(photos: Path, tmp_path: Path) -> None:
    plan = plan_of(photos)
    run_bench(plan, tmp_path / "one.csv")
    run_bench(plan, tmp_path / "two.csv", jobs=2)
    assert untimed(read(tmp_path / "one.csv")) == untimed(read(tmp_path / "two.csv"))


def test_bad_image_and_bad_setting_cost_only_their_rows(photos: Path, tmp_path: Path) -> None:
    (photos / "1.png").write_bytes(b"no picture")
    errors = run_bench(plan_of(photos, "jpeg@50", "jpeg2000@0.5,0"), tmp_path / "rows.csv")
    rows = read(tmp_path / "rows.csv")
    assert errors == 5
    good = [(r["image"], r["codec"]) for r in rows if r["status"] == "ok"]
    assert good == [(i, c) for i in ("0.png", "2.png") for c in ("jpeg", "jpeg2000")]
    bad = [row for row in rows if row["image"] == "1.png"]
    assert all(row["status"] == "error" and "ImageFormatError" in row["error"] for row in bad)


def test_resume_makes_only_the_missing_rows(photos: Path, tmp_path: Path) -> None:
    plan, path = plan_of(photos), tmp_path / "rows.csv"
    run_bench(plan, path)
    first = read(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:6]) + lines[6][:10])
    seen: list[Progress] = []
    run_bench(plan, path, resume=True, progress=seen.append)
    assert [entry.done for entry in seen] == list(range(6, 13))
    again = read(path)
    assert again[:5] == first[:5]
    assert untimed(again) == untimed(first)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_killed_run_resumes_to_the_same_rows(photos: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of a run with workers, then --resume."""
    path = tmp_path / "rows.csv"
    script = tmp_path / "run.py"
    script.write_text(
        "import pathlib, sys\n"
        "from imgcodec.eval.runner import BenchPlan, run_bench\n"
        "if __name__ == '__main__':\n"
        "    plan = BenchPlan(sys.argv[1], ('avif@5,20,40,60,80,95',), ('psnr',))\n"
        "    run_bench(plan, pathlib.Path(sys.argv[2]), resume=True, jobs=2)\n"
    )
    command = [sys.executable, str(script), str(photos), str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not path.exists() or len(path.read_text().splitlines()) < 4:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    kept = path.read_text()
    kept = kept[: kept.rfind("\n") + 1]
    subprocess.run(command, env=environment, check=True, timeout=100)
    whole = path.read_text()
    assert set(kept.splitlines()) <= set(whole.splitlines())
    run_bench(BenchPlan(str(photos), ("avif@5,20,40,60,80,95",), ("psnr",)), tmp_path / "x.csv")
    assert untimed(read(path)) == untimed(read(tmp_path / "x.csv"))


def test_crash_of_a_worker_costs_only_its_row(photos: Path, tmp_path: Path) -> None:
    """A codec whose process dies (as of a native crash) ends as an error row."""
    script = tmp_path / "crash.py"
    script.write_text(
        "import os, pathlib, sys\n"
        "import imgcodec.eval.runner as runner\n"
        "real = runner.Bench.run\n"
        "def run(self, task):\n"
        "    if task.image == 1:\n"
        "        os._exit(11)\n"
        "    return real(self, task)\n"
        "runner.Bench.run = run\n"
        "if __name__ == '__main__':\n"
        "    plan = runner.BenchPlan(sys.argv[1], ('jpeg@50',), ('psnr',))\n"
        "    print(runner.run_bench(plan, pathlib.Path(sys.argv[2]), jobs=2))\n"
    )
    path = tmp_path / "rows.csv"
    done = subprocess.run(
        [sys.executable, str(script), str(photos), str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout.strip() == "1", done.stderr
    rows = read(path)
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert "the process died" in rows[1]["error"]


@dataclasses.dataclass(frozen=True)
class FakeCodec:
    """Raw pixels after a fixed time, part of which counts as entropy coding."""

    name: str = "fake"
    settings: tuple[int, ...] = (1,)
    shrink: int = 0

    def encode(self, rgb: np.ndarray, setting: object) -> bytes:
        time.sleep(0.02)
        return np.array(rgb.shape, "<i4").tobytes() + rgb.tobytes()

    def decode(self, data: bytes) -> np.ndarray:
        shape = np.frombuffer(data[:12], "<i4")
        rgb = np.frombuffer(data[12:], np.uint8).reshape(shape)
        return rgb[: rgb.shape[0] - self.shrink]

    def describe(self, setting: object) -> str:
        return f"s={setting}"

    def describe_codec(self) -> str:
        return "fake"

    def sizes(self, data: bytes) -> tuple[float, float]:
        return len(data) - 12.0, len(data) - 13.0

    @contextlib.contextmanager
    def entropy_clock(self) -> Iterator[Callable[[], float]]:
        yield lambda: 0.005


def test_instrumented_codec_has_its_time_split(photo_like) -> None:
    metrics = create_metrics(["psnr"])
    prepared = [metric.prepare(photo_like) for metric in metrics]
    row = measure.measure_row(FakeCodec(), metrics, photo_like, prepared, 1, reps=3)
    num_pixels = photo_like.shape[0] * photo_like.shape[1]
    assert row["bpp"] - row["payload_bpp"] == pytest.approx(12 * 8 / num_pixels)
    assert row["payload_bpp"] - row["estimate_bpp"] == pytest.approx(8 / num_pixels)
    assert row["encode_entropy_s"] == 0.005
    assert row["encode_transform_s"] == pytest.approx(row["encode_s"] - 0.005)
    assert row["encode_s"] >= 0.02
    assert row["psnr"] == math.inf


def test_decoded_picture_of_another_size_is_an_error(photo_like) -> None:
    with pytest.raises(measure.WrongSizeError, match="decoded"):
        measure.measure_row(FakeCodec(shrink=1), [], photo_like, [], 1, reps=1)


def test_times_are_medians(monkeypatch, photo_like) -> None:
    ticks = iter([0.0, 1.0, 10.0, 15.0, 20.0, 22.0, 30.0, 30.5, 40.0, 40.5, 50.0, 50.5])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(ticks))
    row = measure.measure_row(FakeCodec(), [], photo_like, [], 1, reps=3)
    assert row["encode_s"] == 2.0
    assert row["decode_s"] == 0.5


def test_warm_up_is_once_per_codec_and_not_timed(photos: Path, monkeypatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(runner, "warm_up", lambda codec, rgb, setting: calls.append(codec.name))
    bench = Bench(plan_of(photos))
    for task in bench.tasks():
        bench.run(task)
    assert calls == ["jpeg", "webp"]


def test_ladders_are_thinned_evenly_with_both_ends() -> None:
    assert thin(range(10), None) == list(range(10))
    assert thin(range(10), 4) == [0, 3, 6, 9]
    assert thin(range(10), 2) == [0, 9]
    assert thin(range(9), 1) == [4]
    assert thin(range(3), 7) == [0, 1, 2]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_memory_sees_what_was_freed_again() -> None:
    with peak_memory() as nothing:
        pass
    with peak_memory() as peak:
        block = np.ones(40_000_000, np.uint8)
        del block
    assert nothing.bytes < 5e6
    assert 38e6 < peak.bytes < 60e6
