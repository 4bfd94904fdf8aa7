"""`make demo`: the whole path on real input, in the terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path

from PIL import Image, ImageDraw
from rich.console import Console as Terminal

from bot.settings.config import Config
from bot.terminal import execute, folder_for_results
from engines import embedded
from engines.models import catalogue
from engines.words import Language, Words

SEED = 11  # of the photo; any other gives another nut


async def show(config: Config, lang: Language, out: Path) -> bool:
    """Make a photo and a mask, put a scratch where the mask is, and say where the files are."""
    terminal = Terminal()
    out = folder_for_results(out)
    photo, mask = await asyncio.to_thread(_photo_and_mask, out)
    terminal.print(_PHOTO(photo=photo, mask=mask).of(lang), highlight=False)
    commands = [
        f'/inpaint image:@"{photo}" mask:@"{mask}" prompt:"a photo of a metal nut with a scratch" seed:8 steps:25',
        '/txt2img "a photo of a metal plate with a hole" seed:1 steps:25',
    ]
    here = _with_models_of(config, out / "data")
    if catalogue.find("u2netp", None, here.models_folder).here:
        commands.append(f'/removebg image:@"{photo}"')
    else:
        terminal.print(_NO_NETWORK.of(lang), highlight=False)
    for command in commands:
        terminal.print(f"› {command}", style="cyan", highlight=False, markup=False)
    done = await execute(here, commands, "demo", lang, out, as_json=False)
    terminal.print((_DONE if done else _FAILED)(folder=out).of(lang), highlight=False)
    return done


def _with_models_of(config: Config, data: Path) -> Config:
    """The same studio with another data folder: models that are here need not be fetched again."""
    models = config.models.model_copy(update={"folder": str(config.models_folder.resolve())})
    return config.model_copy(update={"models": models}).at(data)


def _photo_and_mask(out: Path) -> tuple[Path, Path]:
    """A photo of a faultless metal nut, four times the models' size, and a mask: where the scratch shall be."""
    image, _ = embedded.sample(SEED, "metal nut", None)
    photo = image.resize((512, 512), Image.Resampling.LANCZOS)
    mask = Image.new("L", photo.size, 0)
    ImageDraw.Draw(mask).line([(150, 330), (250, 405)], fill=255, width=14)
    paths = out / "photo.png", out / "mask.png"
    photo.save(paths[0])
    mask.save(paths[1])
    return paths


_PHOTO = Words("A photo: {photo}\nWhere the defect shall be: {mask}", "사진: {photo}\n결함을 넣을 곳: {mask}")
_NO_NETWORK = Words(
    "Removing the background is left out: its network is not here. `defect-studio models fetch u2netp` brings it.",
    "배경 제거는 모델 파일이 없어서 건너뜁니다. `defect-studio models fetch u2netp` 명령으로 받을 수 있습니다.",
)
_DONE = Words("Done. The pictures are in {folder}.", "끝났습니다. 그림은 {folder}에 있습니다.")
_FAILED = Words(
    "The demo did not finish; the sentence above says why.",
    "데모를 마치지 못했습니다. 이유는 위의 문장을 봐 주십시오.",
)
