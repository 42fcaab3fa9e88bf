"""Draws a picture of every screen, on a project that has really been through the loop.

`make screenshots` runs the demo into a folder of its own first, if it is not there yet, then presses keys as a person
would and saves what the terminal shows as SVG in assets/screenshots/.
"""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from screens.app import BenchApp
from workbench.bench import Bench

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "assets" / "screenshots"
SETTLE_SECONDS = 1.5
"""Every screen loads in a thread; this is generous on a slow machine and nobody waits for it."""


@dataclass(frozen=True)
class Scene:
    """A picture: its file's name, the terminal's size, and the keys that lead there."""

    name: str
    keys: tuple[str, ...]
    size: tuple[int, int] = (110, 32)
    wait: float = SETTLE_SECONDS


ASKED = tuple("question_mark" if letter == "?" else letter for letter in "What is the opposite of hot?")

SCENES = (
    Scene("home", ("1",), (160, 40)),
    Scene("models", ("2",)),
    Scene("data", ("3",)),
    Scene("sample", ("4",)),
    Scene("rank", ("5",)),
    Scene("rank-small", ("5",), (80, 24)),
    Scene("runs", ("6",), (160, 40)),
    Scene("lineage", ("6", "v"), (160, 40)),
    Scene("live", ("6", "/", *"dpo", "enter", "enter"), (160, 45)),
    Scene("ppo", ("6", "/", *"ppo", "enter", "enter"), (160, 45)),
    Scene("reward", ("6", "/", *"reward", "enter", "enter"), (160, 45)),
    Scene("train", ("1", "t")),
    Scene("train-ppo", ("1", "t", "enter", "/", *"ppo", "enter"), (120, 40)),
    Scene("export", ("7",), (120, 40)),
    Scene("compare-runs", ("6", *"jjjmjjjjjm"), (160, 40)),
    Scene("compare", ("7", "tab", "b"), wait=60.0),
    Scene("chat", ("8", "escape", "b", "enter", "i", *ASKED, "enter"), (130, 32), wait=40.0),
    Scene("doctor", ("9",)),
    Scene("help", ("5", "question_mark")),
)


async def draw(project: Path, scene: Scene) -> None:
    """Opens the app, presses the scene's keys, and saves the screen."""
    bench = Bench.open(project)
    app = BenchApp(bench)
    async with app.run_test(size=scene.size) as pilot:
        await pilot.pause(SETTLE_SECONDS)
        for key in scene.keys:
            await pilot.press("space" if key == " " else key)
            await pilot.pause(0.4 if len(key) > 1 or key.isdigit() else 0.02)
        await pilot.pause(scene.wait)
        picture = app.export_screenshot(title="workbench")
    bench.close()
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{scene.name}.svg").write_text(anonymous(without_fonts(picture)) + "\n", encoding="utf-8")
    print(f"{scene.name}.svg")


def without_fonts(picture: str) -> str:
    """The SVG with the reader's own monospaced font instead of one fetched from the network."""
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL).replace("Fira Code", "ui-monospace")


def anonymous(picture: str) -> str:
    """The SVG without the folder that this Python lies in: Doctor names it. Every line keeps its length."""
    told = sys.executable.removeprefix(f"{ROOT}/")
    return picture.replace(sys.executable, told + "&#160;" * (len(sys.executable) - len(told)))


def main(project: Path, names: list[str]) -> None:
    """All pictures, or only those named."""
    for scene in SCENES:
        if not names or scene.name in names:
            asyncio.run(draw(project, scene))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m assets.screenshots PROJECT [NAME]...")
    main(Path(sys.argv[1]), sys.argv[2:])
