"""What went wrong, told to a person: from an exception to `Failed`."""

from __future__ import annotations

import errno
import traceback

from engines.events import Failed
from engines.words import Refusal, Words


def failed(error: BaseException) -> Failed:
    """Refusals keep their words; memory and disk have their own; the rest is a bug and says so politely.

    Holds text only: an exception's traceback keeps whole batches of tensors alive.
    """
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, Refusal):
        return Failed(error.words, getattr(error, "code", "input"))
    if out_of_memory(error):
        return Failed(_MEMORY, "memory", trace)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failed(_DISK, "disk", trace)
    return Failed(_BUG(name=type(error).__name__), "error", trace)


def out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the machine or of its device was not enough (torch is not imported for this)."""
    return isinstance(error, MemoryError) or any(
        kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__
    )


_MEMORY = Words(
    "The device's memory was not enough for this job. Try a smaller picture, fewer at once, or a smaller model.",
    "이 작업을 하기에는 장치의 메모리가 부족했습니다. 그림 크기나 개수를 줄이거나 더 작은 모델을 써 보십시오.",
)
_DISK = Words(
    "The disk is full, so the result could not be kept. Please tell an administrator, then try again.",
    "디스크가 가득 차서 결과를 저장하지 못했습니다. 관리자에게 알린 뒤 다시 시도해 주십시오.",
)
_BUG = Words(
    "Something broke inside while working on this ({name}). It was not your input. Please try again; if it happens "
    "again, tell an administrator the job's number.",
    "작업하는 중에 내부 오류({name})가 발생했습니다. 입력이 잘못된 것은 아닙니다. 다시 시도해 보시고, 또 발생하면 "
    "관리자에게 작업 번호를 알려 주십시오.",
)
STOPPED = Failed(
    Words(
        "Defect Studio is stopping; the job goes back into the queue.",
        "Defect Studio가 종료되는 중이며, 작업은 대기열로 돌아갑니다.",
    ),
    "stopped",
)
