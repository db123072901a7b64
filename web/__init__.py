"""The page that shows files. `make web` builds it into `dist/`, which is not in the repository."""

from pathlib import Path

DIST = Path(__file__).resolve().parent / "dist"
