"""`concepts_list.json`, as diffusers' multi-concept scripts read it, and the folders of the archive that it names.

Beside `instance_prompt`, `class_prompt`, `instance_data_dir` and `class_data_dir` it may say `instance_mask_dir`,
`normal_data_dir`, `weight` and `name`. A folder of somebody's own machine (`/home/kim/data/zipper`) means the
folder of the archive whose path ends alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from bot.datasets.files import Gathered, Layout, Photo, Source, Tree, by_stem, called_mask, paired
from bot.locale.markup import cut
from engines.words import Refusal, Words

FILE = "concepts_list.json"
MOST_BYTES = 1_000_000
PROMPTS = ("instance_prompt", "class_prompt")
FOLDERS = ("instance_data_dir", "class_data_dir", "instance_mask_dir", "normal_data_dir")
KNOWN = frozenset((*PROMPTS, *FOLDERS, "weight", "name"))


def read_json(tree: Tree) -> Layout | None:
    """The concepts that the list names, or None where there is no list. Raises `Refusal`."""
    listed = [file for file in tree.files if file.parts[-1].lower() == FILE]
    if not listed:
        return None
    where = min(listed, key=lambda file: len(file.parts))  # the outermost
    notes: list[Words] = []
    entries = _entries(where)
    concepts = [_concept(tree, where.folder, number, entry, notes) for number, entry in enumerate(entries, 1)]
    return Layout("json", tuple(concepts), tuple(dict.fromkeys(notes)))


def _entries(file: Source) -> list[Mapping[str, Any]]:
    data = file.path.read_bytes()[: MOST_BYTES + 1]
    if len(data) > MOST_BYTES:
        raise Refusal(_BAD_JSON(why="> 1 MB"))
    try:
        entries = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Refusal(_BAD_JSON(why=cut(str(error), 100))) from None
    entries = [entries] if isinstance(entries, dict) else entries
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise Refusal(_NOT_A_LIST)
    return entries


def _concept(tree: Tree, base: str, number: int, entry: Mapping[str, Any], notes: list[Words]) -> Gathered:
    if unknown := sorted(set(map(str, entry)) - KNOWN):
        notes.append(_UNKNOWN_KEYS(keys=", ".join(f"`{cut(key, 40)}`" for key in unknown[:5])))
    prompt = _text(entry, "instance_prompt", number)
    folder = _folder(tree, base, _text(entry, "instance_data_dir", number), notes)
    images = tree.pictures(folder) if folder is not None else []
    if not images:
        raise Refusal(_NO_PICTURES(n=number, folder=cut(str(entry["instance_data_dir"]), 80)))
    optional = {
        key: _optional(tree, base, entry, key, notes) for key in ("normal_data_dir", "class_data_dir")
    }
    return Gathered(
        name=str(entry.get("name") or "").strip()[:60]
        or PurePosixPath(folder or "").name
        or f"concept {number}",
        instance_prompt=prompt[:1000],
        class_prompt=str(entry.get("class_prompt") or "").strip()[:1000],
        photos=_photos(tree, base, images, entry, number, notes),
        normals=tuple(optional["normal_data_dir"]),
        class_images=tuple(optional["class_data_dir"]),
        weight=_weight(entry, number),
    )


def _photos(
    tree: Tree, base: str, images: list[Source], entry: Mapping[str, Any], number: int, notes: list[Words]
) -> tuple[Photo, ...]:
    """The photos with the masks of their folder, or with those that lie beside them."""
    if entry.get("instance_mask_dir"):
        folder = _folder(tree, base, str(entry["instance_mask_dir"]), notes)
        masks = tree.pictures(folder) if folder is not None else []
        if not masks:
            raise Refusal(_NO_MASKS(n=number, folder=cut(str(entry["instance_mask_dir"]), 80)))
        return paired(images, by_stem(masks))
    masks = [image for image in images if called_mask(image)]
    photos = [image for image in images if not called_mask(image)]
    return paired(photos, by_stem(masks)) if photos else paired(images, {})


def _optional(tree: Tree, base: str, entry: Mapping[str, Any], key: str, notes: list[Words]) -> list[Source]:
    """A folder that need not be there: scripts fill `class_data_dir` themselves."""
    said = str(entry.get(key) or "")
    folder = _folder(tree, base, said, []) if said else None
    found = tree.pictures(folder) if folder is not None else []
    if said and not found and key == "normal_data_dir":
        notes.append(_NO_NORMALS(folder=cut(said, 80)))
    return found


def _folder(tree: Tree, base: str, said: str, notes: list[Words]) -> str | None:
    """The folder of the archive that `said` means; None where there is none. Nothing outside is ever looked at."""
    plain = said.replace("\\", "/")
    path = PurePosixPath(plain)
    parts = [part for part in path.parts if part not in ("/", ".") and not part.endswith(":")]
    if ".." in parts:
        return None
    inside = "/".join(parts)
    for folder in (f"{base}/{inside}".strip("/"), inside):
        if folder in tree.folders:
            return folder
    for start in range(1, len(parts)):  # somebody's own disk: the longest ending that is in here
        ending = "/".join(parts[start:])
        fitting = [f for f in sorted(tree.folders) if f == ending or f.endswith(f"/{ending}")]
        if len(fitting) == 1:
            notes.append(_TAKEN_FOR(said=cut(said, 80), folder=cut(fitting[0], 80)))
            return fitting[0]
    return None


def _text(entry: Mapping[str, Any], key: str, number: int) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise Refusal(_MISSING(n=number, key=key))
    return value.strip()


def _weight(entry: Mapping[str, Any], number: int) -> float:
    try:
        weight = float(entry.get("weight", 1.0))
    except (TypeError, ValueError):
        weight = -1.0
    if not 0 < weight <= 1000:
        raise Refusal(_BAD_WEIGHT(n=number, said=cut(str(entry.get("weight")), 20)))
    return weight


_BAD_JSON = Words(
    "`concepts_list.json` cannot be read: {why}. It must be a JSON list of concepts.",
    "`concepts_list.json` 파일을 읽을 수 없습니다: {why}. 개념을 담은 JSON 목록이어야 합니다.",
)
_NOT_A_LIST = Words(
    "`concepts_list.json` must be a list like "
    '`[{{"instance_prompt": "…", "class_prompt": "…", "instance_data_dir": "…"}}]`.',
    "`concepts_list.json` 파일은 다음과 같은 목록이어야 합니다: "
    '`[{{"instance_prompt": "…", "class_prompt": "…", "instance_data_dir": "…"}}]`.',
)()
_UNKNOWN_KEYS = Words(
    "`concepts_list.json` says {keys}, which was not used.",
    "`concepts_list.json`의 {keys} 항목은 사용하지 않았습니다.",
)
_MISSING = Words(
    "Concept {n} of `concepts_list.json` has no `{key}`.",
    "`concepts_list.json`의 {n}번째 개념에 `{key}` 항목이 없습니다.",
)
_NO_PICTURES = Words(
    "Concept {n} names the folder “{folder}”, but the archive has no pictures there. "
    "Paths are taken inside the archive, beside `concepts_list.json`.",
    "{n}번째 개념의 폴더 “{folder}”에 해당하는 사진이 압축 파일에 없습니다. "
    "경로는 압축 파일 안, `concepts_list.json` 옆을 기준으로 합니다.",
)
_NO_MASKS = Words(
    "Concept {n} names the mask folder “{folder}”, but the archive has no pictures there.",
    "{n}번째 개념의 마스크 폴더 “{folder}”에 해당하는 그림이 압축 파일에 없습니다.",
)
_NO_NORMALS = Words(
    "The folder of good pictures “{folder}” is not in the archive.",
    "정상 사진 폴더 “{folder}”이(가) 압축 파일에 없습니다.",
)
_TAKEN_FOR = Words(
    "“{said}” was taken for the archive's folder `{folder}`.",
    "“{said}”은(는) 압축 파일의 `{folder}` 폴더로 보았습니다.",
)
_BAD_WEIGHT = Words(
    "The `weight` of concept {n} must be a number from 0 to 1000, more than 0, not “{said}”.",
    "{n}번째 개념의 `weight` 값은 0보다 크고 1000 이하인 숫자여야 합니다 (입력: “{said}”).",
)
