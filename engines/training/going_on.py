"""Going on with a training that failed, as a new job: its newest checkpoint, log, samples and class pictures taken over.

What may be changed on the way is what the numbers do not depend on, or what broke them: how a step's samples are cut
into batches, the learning rate, the precision. All else must be as it was, and then the new job ends with the very
weights that the old one would have had.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from engines.engine import Work
from engines.training import checkpoints
from engines.training.record import FILE
from engines.training.request import Train
from engines.words import Words

CHANGEABLE = frozenset(
    {
        "save_as", "batch", "accumulation", "gradient_checkpointing", "precision", "learning_rate", "max_grad_norm",
        "validate_every", "validation_prompt", "save_every", "keep", "earlier",
        "dataset", "prompts", "only", "draft", "start",
    }
)  # fmt: skip


def lineage(request: Train) -> str:
    """What a checkpoint must share with a training that goes on from it."""
    fixed = {name: value for name, value in request.to_json().items() if name not in CHANGEABLE}
    told = json.dumps([fixed, request.batch * request.accumulation], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def take_over(work: Work, request: Train) -> list[Words]:
    """Bring what the earlier job left into `work.folder`, the checkpoint last and all at once; sentences about it.

    Nothing happens where there is a checkpoint already: a life of this job was here before.
    """
    if not request.earlier or any(work.folder.glob(f"{checkpoints.PREFIX}*")):
        return []
    before = work.folder.parent / str(request.earlier)
    kept = checkpoints.newest_path(before)
    if kept is None:
        return [_NOTHING(id=request.earlier)]
    for name in ("samples", "class"):
        if (before / name).is_dir():
            shutil.copytree(before / name, work.folder / name, dirs_exist_ok=True)
    if (before / FILE).is_file():
        shutil.copyfile(before / FILE, work.folder / FILE)
    part = work.folder / f"{checkpoints.PART}{kept.name.removeprefix(checkpoints.PREFIX)}"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(kept, part, copy_function=_linked)  # a checkpoint's files are never written to again
    os.rename(part, work.folder / kept.name)
    checkpoints.sync_folder(work.folder)
    return [_TAKEN(id=request.earlier)]


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # a disk without hard links
        shutil.copyfile(source, target)
        checkpoints.sync_file(Path(target))
    return target


_TAKEN = Words("It goes on from what #{id} had learnt.", "#{id} 작업이 학습한 곳부터 이어서 합니다.")
_NOTHING = Words(
    "The checkpoint of #{id} is not there any more, so the training began from the start.",
    "#{id} 작업의 체크포인트가 더 이상 없어 처음부터 학습했습니다.",
)
