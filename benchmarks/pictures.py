"""The README's pictures, photographed from a real sweep: MLflow's views and the report."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.browser import PATIENCE_MS, launched, open_comparison

if TYPE_CHECKING:
    from PIL import Image
    from playwright.sync_api import Browser

    from orchestrator.folder import SweepFolder

__all__ = ["main"]

OUTPUT: Final = Path(__file__).parent / "pictures"
MAX_BYTES: Final = 200_000
WIDTH: Final = 1200
VIEWS: Final = {
    "0 Ranking": (1080, 4),
    "1 All trials": (1080, 4),
    "2 Mean curves by backbone": (760, 2),
    "3 Trials table": (760, 0),
}
"""Height of the window for each view, in pixels, and how many charts are in it."""

ASSISTANT: Final = "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"
"""Key that MLflow's pages leave in a browser once they have opened their assistant, which they do once."""

REPORTS: Final[dict[str, dict[str, Any]]] = {
    "report": {"width": WIDTH, "height": 1500},
    "report_dark": {"width": WIDTH, "height": 1000, "color_scheme": "dark"},
    "report_phone": {"width": 390, "height": 844, "device_scale_factor": 2},
}


def photograph(folder: SweepFolder, output: Path) -> list[Path]:
    """Make all of them. Returns the files."""
    from orchestrator.reopening import recorded_config
    from orchestrator.stores import tracking_uri
    from orchestrator.viewing import comparing

    output.mkdir(parents=True, exist_ok=True)
    config = recorded_config(folder)
    tasks = [task.name for task in config.tasks]
    with launched() as browser:
        made = list(_reports(browser, folder, output))
        with comparing(folder, tracking_uri(config), tasks, None, _say) as comparison:
            for name, url in comparison.pages[0].views.items():
                made.append(_view(browser, name, url, output))
    return made


def _view(browser: Browser, name: str, url: str, output: Path) -> Path:
    file = output / f"mlflow_{name.replace(' ', '_').lower()}.png"
    height, num_charts = VIEWS[name]
    with _page(browser, width=1440, height=height) as page:
        open_comparison(page, url, num_charts=num_charts)
        page.locator(".ag-row").nth(3).wait_for()
        return _kept(page.screenshot(), file)


def _reports(browser: Browser, folder: SweepFolder, output: Path) -> Iterator[Path]:
    address = (folder.path / "report.html").as_uri()
    for name, options in REPORTS.items():
        with _page(browser, **options) as page:
            page.goto(address)
            yield _kept(page.screenshot(), output / f"{name}.png")


@contextlib.contextmanager
def _page(browser: Browser, *, width: int, height: int, **options: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(f"localStorage.setItem({ASSISTANT!r}, 'true')")
    try:
        yield context.new_page()
    finally:
        context.close()


def _kept(png: bytes, file: Path) -> Path:
    """As wide as READMEs are shown, in as many colours as fit the size.

    Raises:
        SystemExit: even 16 colours take too much.
    """
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > WIDTH:
        size = (WIDTH, round(picture.height * WIDTH / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    for colors in (None, 256, 128, 64, 32, 16):
        packed = io.BytesIO()
        fewer = picture if colors is None else _in_fewer_colors(picture, colors)
        fewer.save(packed, "PNG", optimize=True)
        if packed.tell() <= MAX_BYTES:
            file.write_bytes(packed.getvalue())
            return file
    raise SystemExit(f"{file.name} takes {packed.tell()} bytes, and at most {MAX_BYTES} are kept")


def _in_fewer_colors(picture: Image.Image, num_colors: int) -> Image.Image:
    """In the backbones' colours and those that occur most: averages of them would turn a backbone's dot grey."""
    import numpy as np
    from PIL import Image, ImageColor

    from orchestrator.tracking.color import PALETTE

    found, counts = np.unique(np.asarray(picture).reshape(-1, 3), axis=0, return_counts=True)
    palette = Image.new("P", (1, 1))
    commonest = found[np.argsort(-counts)[: num_colors - len(PALETTE)]].tobytes()
    palette.putpalette(bytes(part for color in PALETTE for part in ImageColor.getrgb(color)) + commonest)
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> None:
    from orchestrator.folder import find_sweep

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweep", help="id or folder; default: the newest")
    parser.add_argument("--storage", type=Path, default=Path("sweeps"), help="folder that holds the sweeps")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the pictures")
    given = parser.parse_args()
    made = photograph(find_sweep(given.sweep, given.storage), given.output)
    print(json.dumps({str(file): file.stat().st_size for file in made}, indent=2))


if __name__ == "__main__":
    main()
