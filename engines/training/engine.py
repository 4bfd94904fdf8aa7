"""The training engine: DreamBooth as a run of steps like any other, that gives way, previews, stops and goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engines.engine import Packing, Work
from engines.models import catalogue
from engines.models.memory import Blueprint, Lease, Models, Piece
from engines.training import checkpoints, classes, finishing, going_on, samples, ticks, views
from engines.training import run as runs_
from engines.training.concepts import Concept, Order, concepts, path_of
from engines.training.export import Origin, is_of
from engines.training.learner import Broken, Learner
from engines.training.offload import Away
from engines.training.record import Record
from engines.training.request import LORA, Train, check_name
from engines.training.run import Training, fingerprint
from engines.training.sights import Sights
from engines.training.timeline import Timeline
from engines.words import Refusal, Words

Read = Callable[[str, str], Blueprint]

ADAM = "optimizer"  # the role of its state in the budget


class DreamBooth:
    """The engine of /train on one device.

    Args:
        models: the device's models; the base is leased from them and never changed.
        private: reads the same bases in float32, for weights of a training's own.
        folder: where finished models go.
        paths: further models that an administrator named.
        sample_steps: of one sample's sampling.
    """

    def __init__(
        self,
        models: Models,
        private: Read,
        folder: Path,
        paths: Sequence[Path] = (),
        *,
        sample_steps: int = samples.STEPS,
    ) -> None:
        self._sample_steps = sample_steps
        self._models = models
        self._private = private
        self._folder = folder
        self._paths = tuple(paths)

    def prepare(self, work: Work) -> None:
        """Fetch and hash the base, and look at every picture, off the device's thread."""
        request = _asked(work)
        taken(request.save_as, self._folder, self._paths, fingerprint(work))
        for concept in concepts(request):
            _look(concept, work.files)
        self._models.prepare(request.model, request.model_kind)
        if request.method != LORA:
            self._private(request.model, request.model_kind)

    def begin(self, work: Work) -> Training:
        """From nothing, or from the newest checkpoint in `work.folder`."""
        request = _asked(work)
        taken(request.save_as, self._folder, self._paths, fingerprint(work))
        told = concepts(request)
        lease = self._models.lease(request.model, request.model_kind)
        leases = [lease]
        try:
            runs_.check(request, lease.parts)
            return self._begun(work, request, told, leases)
        except BaseException:
            for one in leases:
                self._close(one)
            raise

    def _begun(self, work: Work, request: Train, told: Sequence[Concept], leases: list[Lease]) -> Training:
        parts = leases[0].parts
        side = runs_.side(request, parts)
        taken_over = going_on.take_over(work, request)
        made = self._learner(work, request, leases)
        wanted = classes.wanted(request, told, work.folder)
        whole = classes.with_pictures(told, wanted)
        kept = _kept(work, made)
        step = kept.step if kept else 0
        timeline = Timeline(
            request.total_steps, classes.ticks(wanted), self._sample_steps, request.validate_every
        )
        run = Training(
            work=work,
            total=timeline.total,
            key=("train", work.id),
            rows=request.rows,
            cost=request.cost / request.total_steps,
            background=True,
            request=request,
            parts=parts,
            base=self._base(request, parts.name),
            leases=leases,
            learner=made,
            concepts=tuple(whole),
            order=Order(whole, request.seed, _priors(request)),
            sights=Sights(parts, request, whole, work.files, side),
            timeline=timeline,
            wanted=wanted,
            # in a photo of the data set: the pictures of the class are not made yet
            items=samples.items(request, told, work.files, side),
            record=Record(work.folder, [c.name for c in told], step),
            side=side,
            batch=request.batch,
            notes=taken_over,
        )
        self._placed(run, kept)
        return run

    def _learner(self, work: Work, request: Train, leases: list[Lease]) -> Learner:
        """What is trained, with its memory counted in the device's budget and its disk looked at."""
        parts = leases[0].parts
        private = (
            self._private(request.model, request.model_kind) if runs_.needs_private(request, parts) else None
        )
        size, adam = runs_.memory(request, parts)
        leases.append(self._room(work, parts.name, "training", size))
        leases.append(self._room(work, parts.name, ADAM, adam))
        made = runs_.learner(request, parts, private)
        trained = 4 * sum(p.numel() for p in made.trained.values())
        checkpoints.need_room(work.folder, 2 * 3 * trained + 2 * trained)  # two checkpoints and the model
        return made

    def _room(self, work: Work, name: str, role: str, size: int) -> Lease:
        """Memory that is the training's own, in the device's budget. Raises as `Models.take` does."""
        room = Piece(role, f"{role} {fingerprint(work)}", size, lambda: None)
        return self._models.take(Blueprint(name, room.hash, (room,)))

    def _placed(self, run: Training, kept: checkpoints.Checkpoint | None) -> None:
        """At the place where an earlier life left it, if there was one."""
        if kept is not None:
            run.done = run.timeline.after_step(kept.step)
            run.saved = kept.step
            run.batch = min(kept.state["batch"], run.batch)
            run.halved = kept.state["halved"] and run.batch == kept.state["batch"]
            run.seconds = kept.state["seconds"]
            if not run.notes:
                run.notes.append(_RESUMED(step=kept.step))
            ticks.earlier_samples(run)
        else:
            run.done = classes.made_ticks(run.wanted)

    def advance(self, runs: Sequence[Training]) -> None:
        """One tick of each: an optimizer step, or one UNet call for its samples. All or none."""
        takes: list[ticks.Take] = []
        for run in runs:
            try:
                takes.append(ticks.tried(run))
            except BaseException as error:
                for mate in runs:
                    mate.learner.forget()
                run.broke = True
                run.over = isinstance(
                    error, Refusal
                )  # it would break again: what it has is not worth keeping
                if isinstance(error, Broken):
                    raise ticks.with_the_mend(run, error) from error
                raise
        for run, take in zip(runs, takes, strict=True):
            try:
                take()
            except BaseException as error:
                run.over = run.broke = True  # the weights have moved and the log has not, or the disk is full
                if isinstance(error, Broken):
                    raise ticks.with_the_mend(run, error) from error
                raise
            run.done += 1
            run.broke = False
            run.note = finishing.note(run)

    def preview(self, run: Training) -> bytes | None:
        """The curves and the newest samples, where there is something new."""
        if not run.news or not run.record.whole.steps:
            return None
        run.news = False
        return finishing.preview(run)

    def finish(self, run: Training) -> Packing:
        """What was trained leaves the device here; the model's folder is written elsewhere."""
        run.over = True
        return finishing.packing(run, self._folder)

    def _base(self, request: Train, name: str) -> Origin:
        """Looked up at the beginning: hours later it may have another name."""
        plan = self._private(request.model, request.model_kind)
        found = catalogue.find(name, None, self._folder, self._paths)
        if found.path is None:
            raise RuntimeError(f"the base {found.name} is gone")
        return Origin(plan, found.path, found.licence)

    def suspend(self, run: Training) -> None:
        """A checkpoint, where steps would be lost, and the memory back; of one that broke, a report of how far it came."""
        try:
            if not run.over and not run.cancelled and run.learnt > run.saved:
                ticks.save(run, run.learnt)
        finally:
            run.over = True
            run.round = None
            run.record.close()
            for lease in run.leases:
                self._close(lease)
            run.leases.clear()
        if run.broke and not run.cancelled:
            finishing.leave(run)

    def lend(self, run: Training) -> int:
        """The optimizer's state to the host: on a GPU to its memory, on the CPU to a mapped file."""
        if run.learner.away is not None:
            return 0
        run.learner.away = Away(run.learner.optimizer, run.work.folder)
        lent = [lease for lease in run.leases if ADAM in lease.parts.hashes]
        for lease in lent:
            run.leases.remove(lease)
            self._close(lease)
        return runs_.memory(run.request, run.parts)[1]

    def reclaim(self, run: Training) -> bool:
        """The optimizer's state back, where the budget has room for it again."""
        if run.learner.away is None:
            return True
        try:
            lease = self._room(run.work, run.parts.name, ADAM, runs_.memory(run.request, run.parts)[1])
        except Refusal:
            return False
        try:
            run.learner.away.back()
        except BaseException:
            self._close(lease)
            raise
        run.leases.append(lease)
        run.learner.away = None
        return True

    def _close(self, lease: Lease) -> None:
        rooms = [hash for role, hash in lease.parts.hashes.items() if role in ("training", ADAM)]
        lease.close()
        for hash in rooms:
            self._models.forget(hash)


def _asked(work: Work) -> Train:
    assert isinstance(work.request, Train), work.request
    return work.request


def taken(name: str, folder: Path, paths: Sequence[Path] = (), training: str = "") -> None:
    """`Refusal` where a model cannot be called `name`, or one is already, unless it is what `training` itself made."""
    check_name(name)
    if training and is_of(folder / name, training):
        return
    try:
        catalogue.find(name, None, folder, paths)
    except Refusal:
        if not (folder / name).exists():
            return
    raise Refusal(_TAKEN(name=name))


def _look(concept: Concept, files: Mapping[str, Path]) -> None:
    """`Refusal` where one of a concept's pictures cannot be read. Decodes each, and forgets it."""
    for i, shot in enumerate(concept.shots):
        for blob, kind in ((shot.image, views.PHOTO), (shot.mask, views.MASK)):
            if blob:
                views.opened(path_of(files, blob), kind(concept=concept.name, n=i + 1))
    for i, blob in enumerate((*concept.prior, *((concept.held_out,) if concept.held_out else ()))):
        views.opened(path_of(files, blob), views.GOOD(concept=concept.name, n=i + 1))


def _kept(work: Work, made: Learner) -> checkpoints.Checkpoint | None:
    """The checkpoint to go on from, put back into `made`; none of another training's."""
    kept = checkpoints.newest(work.folder)
    if kept is None or kept.state["training"] != going_on.lineage(_asked(work)):
        return None
    runs_.restore(made, kept)
    return kept


def _priors(request: Train) -> float:
    """Pictures of the prior class beside each sample."""
    return request.normals if request.prior and request.prior_weight > 0 else 0.0


_TAKEN = Words(
    "There is a model called `{name}` already. Choose another name, or delete that one first (/models).",
    "`{name}`(이)라는 모델이 이미 있습니다. 다른 이름을 고르거나 /models 에서 먼저 삭제해 주십시오.",
)
_RESUMED = Words(
    "The training was interrupted and went on from step {step}.",
    "학습이 중단되었다가 {step}번째 스텝부터 이어서 진행했습니다.",
)
