"""A work on its way through a lane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from engines.engine import Ending, Engine, Run, Work
from engines.events import Failed, Finished
from engines.serving.scheduler import cost
from engines.serving.streams import Stream

Stage = Literal["waiting", "running", "ending", "packing", "over"]


@dataclass(eq=False, slots=True)
class Ticket:
    """From the handing over of a work until nothing touches its folder any more.

    Belongs to the lane's thread, except `cancelled`, which any thread may set.
    """

    work: Work
    stream: Stream
    gone: Callable[[], None]  # called once, from any thread
    stage: Stage = "waiting"
    cancelled: bool = False
    held: bool = False  # where it is cancelled: for now only; set before that, from any thread
    engine: Engine | None = None
    run: Run | None = None
    ending: Ending | None = None  # its finish, begun
    lent: bool = False  # its run has given memory to others
    failure: Failed | None = None  # of its `prepare`
    passed: int = 0  # how many that came later began before it
    seconds: float = 0.0  # of the device, shared out by cost

    @property
    def left(self) -> float:
        """What is still to be done, in row-steps."""
        run = self.run
        if run is None:
            return self.work.request.cost if self.stage == "waiting" else 0.0
        return max(run.total - run.done, 0) * cost(run)

    def over(self, event: Finished | Failed | None) -> None:
        """Nothing more happens to it; `event` is told unless it was told before."""
        if self.stage == "over":
            return
        self.stage = "over"
        if isinstance(event, Failed):
            event = replace(event, seconds=self.seconds)
        if event is not None:
            self.stream.tell(event)
        self.gone()
