"""The study of distillation: what teachers add to a student, by how many of the faces have labels.

``kdloss.reproduce --study distillation`` trains every `Row` at several shares of labels and with several seeds, and
measures it on the test faces. All students start from the same weights, see the same views and take the same number of
steps, but for the one that is trained longer. Teachers know no more labels than their students.

Work is divided into jobs that any number of processes share: each takes the first job that no other process holds, that
is not done, and whose teachers are. What a finished job found is one JSON file, `RESULTS` of a folder its collection.
"""

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass, field

from kdloss.errors import ConfigError, DataError, UserError
from kdloss.experiments.recipes import HEATMAPS
from kdloss.files import is_held, write_whole
from kdloss.names import counted
from kdloss.training.config import NONE, TrainConfig
from kdloss.training.runs import finished
from kdloss.training.state import OutOfTime

RESULTS, ROWS = "results.json", "rows"
CONTROL = "l1"  # the row that others of as many steps are compared with
_WAIT = 5.0  # seconds until a process looks again for a job that is free


@dataclass(frozen=True)
class Row:
    """One student of the study.

    Args:
        title: in tables.
        fields: of `TrainConfig`, beside those of all students.
        teachers: field of `TrainConfig` -> the teacher: ``tough``, ``tolerant``, or the folds of one.
        faces: faces without labels: ``rest`` (the training faces whose labels are not used) or ``extra`` (of another
            set).
        seeds: number of seeds at `SHARES`.
        curve: number of seeds at `CURVE`, the other shares.
        longer: times as many steps as the others.
        control: the row of as many steps that this one is compared with.
        stored: whether teachers' points are stored: for as many rounds of views as the run has, so none comes twice.
    """

    title: str
    fields: dict = field(default_factory=dict)
    teachers: dict = field(default_factory=dict)
    faces: str = NONE
    seeds: int = 3
    curve: int = 0
    longer: float = 1.0
    control: str = CONTROL
    stored: bool = False


SHARES, CURVE = (0.2, 1.0), (0.05, 0.1, 0.5)
_POINTS = {"tough": "tough", "tolerant": "tolerant"}
_FOLDS = {kind: f"{kind}-folds" for kind in _POINTS}
_MAPS = {"feature_teacher": "tough"}
_KD = {"method": "kd-loss", "kd_preset": "figure"}
_PUBLIC, _LINEAR = _KD | {"kd_preset": "public"}, _KD | {"kd_preset": "dev2020"}  # the latter's main loss is L1
_LABELLED = {"pseudo_teacher": "tough"}

# In order of importance: what few hours reach is at the top.
ROWS_OF_STUDY = {
    "l1": Row("L1", seeds=5, curve=3),
    "best": Row("L1, teacher's labels, FA", {"method": "fa"}, _MAPS | _LABELLED, "rest", seeds=5, curve=3),
    "fa": Row("L1, FA", {"method": "fa"}, _MAPS),
    "pseudo": Row("L1, teacher's labels", {}, _LABELLED, "rest", curve=3),
    "kd": Row("KD-Loss, both teachers", _KD, _POINTS, seeds=5, stored=True),
    "l2": Row("L2", {"loss": "l2"}, seeds=5),
    "shuffled": Row("placebo: teachers' errors shuffled", _KD | {"placebo": "shuffled"}, _POINTS, seeds=5, stored=True),
    "average": Row("placebo: the student's average", _KD | {"placebo": "average"}, seeds=5),
    "kd-unlabelled": Row("KD-Loss, teacher's labels", _KD, _POINTS | _LABELLED, "rest", curve=3),
    "kd-public": Row("KD-Loss, both, public", _PUBLIC, _POINTS, stored=True),
    "pseudo-more": Row("L1, teacher's labels on 4 of 5 faces", {"unlabelled_share": 0.8}, _LABELLED, "rest"),
    "pseudo-sure": Row("L1, teacher's labels, the surest 4 of 5", {"pseudo_keep": 0.8}, _LABELLED, "rest"),
    "kd-folds": Row("KD-Loss, teachers out of fold", _KD, _FOLDS, stored=True),
    "kd-linear": Row("KD-Loss, both, dev2020", _LINEAR, _POINTS, stored=True),
    "kd-linear-folds": Row("KD-Loss, out of fold, dev2020", _LINEAR, _FOLDS, stored=True),
    "kd-tough": Row("KD-Loss, tough alone", _KD, {"tough": "tough"}, stored=True),
    "kd-tolerant": Row("KD-Loss, tolerant alone", _KD, {"tolerant": "tolerant"}, stored=True),
    "ps": Row("L1, PS", {"method": "ps"}, _MAPS),
    "fa-ps": Row("L1, FA + PS", {"method": "fa-ps"}, _MAPS),
    "extra": Row("L1, teacher's labels of other faces", {}, _LABELLED, "extra"),
    "kd-tough-public": Row("KD-Loss, tough, public", _PUBLIC, {"tough": "tough"}, stored=True),
    "kd-tolerant-public": Row("KD-Loss, tolerant, public", _PUBLIC, {"tolerant": "tolerant"}, stored=True),
    "l1-longer": Row("L1, three times as long", longer=3.0, control="l1-longer"),
    "best-longer": Row(
        "L1, teacher's labels, FA, three times as long",
        {"method": "fa"},
        _MAPS | _LABELLED,
        "rest",
        longer=3.0,
        control="l1-longer",
    ),
}
_FIRST = 2  # so many rows come first with three seeds
_CORE = 7  # so many rows come first, seed by seed


@dataclass(frozen=True)
class StudyRecipe:
    """Settings of a study: fields of `TrainConfig` by the runs that have them.

    Args:
        about: one line for reports.
        teacher: the tough teacher; ``tolerant`` what is different in the tolerant one, which starts from the tough
            unless it has ``weights`` of its own.
        student: every student.
        folds: number of teachers out of fold.
        seeds: most seeds of a row.
        shares: shares of labels that are studied.
        rows: names of the rows that are studied.
    """

    about: str
    teacher: dict
    tolerant: dict
    student: dict
    folds: int = 3
    seeds: int = 5
    shares: tuple = (*SHARES, *CURVE)
    rows: tuple = tuple(ROWS_OF_STUDY)


_TEACHER = HEATMAPS | {"arch": "mobilenetv2-skips", "weights": "imagenet-lite0", "weight_decay": 1e-3}
_STUDENT = {"arch": "mobilenetv2", "weights": "imagenet-lite0", "loss": "l1", "weight_decay": 1e-3, "ps_weight": 0.1}
_PAPER = {
    "image_size": 224, "batch_size": 32, "augment": "paper", "learning_rate": 1e-3, "weight_decay": 1e-3,
    "precision": "mixed_bfloat16",
}  # fmt: skip

RECIPES = {
    "smoke": StudyRecipe(
        about="minutes on two cores; shows that the study works, not what it finds",
        teacher=_TEACHER | {"image_size": 64, "batch_size": 8, "augment": "light", "epochs": 1},
        tolerant={"epochs": 1, "learning_rate": 4e-4},
        student=_STUDENT
        | {"image_size": 64, "batch_size": 8, "augment": "light", "epochs": 1, "frozen": 8},
        folds=2,
        seeds=1,
        shares=(0.2,),
        rows=("l1", "pseudo", "kd", "shuffled", "average", "fa-ps", "kd-folds"),
    ),
    "cpu": StudyRecipe(
        about="two cores, some ten hours on 1800 faces; 96 px; students' first blocks keep their ImageNet weights",
        teacher=_TEACHER
        | {"image_size": 96, "batch_size": 16, "augment": "paper", "learning_rate": 1.5e-3, "epochs": 12},
        tolerant={"epochs": 2, "learning_rate": 4e-4, "warmup_epochs": 0.5},
        student=_STUDENT
        | {"image_size": 96, "batch_size": 16, "augment": "paper", "learning_rate": 2e-3, "epochs": 16, "frozen": 8},
    ),
    # No ImageNet weights of EfficientNet-B3 come with a package. Four networks train at once; only KD-Loss waits.
    "paper": StudyRecipe(
        about="the paper's networks at 224 px with an accelerator, sized for 12 minutes of four processes (estimated: "
        "never run in full); EfficientNet-B3 teachers, each from scratch",
        teacher=_PAPER | {"arch": "efficientnetb3", "loss": "l2", "epochs": 32},
        tolerant={"weights": "none"},
        student=_STUDENT | _PAPER | {"epochs": 24, "teacher_views": 8},
        seeds=1,
        shares=(1.0,),
        rows=("kd", "kd-public", "l2", "l1"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One run of the study.

    Args:
        name: of its folder; a name with a slash is a fold.
        config: its `TrainConfig`.
        needs: names of the jobs that come first.
        row, share, seed: what it is, if it is a student.
    """

    name: str
    config: TrainConfig
    needs: tuple = ()
    row: str | None = None
    share: float = 1.0
    seed: int = 0

    @property
    def settings(self):
        """A hash of the settings: what was found with others is not taken for this job's.

        Places of files do not count, nor do settings that are as by default, so that later ones change nothing.
        """
        default = {one.name: one.default for one in dataclasses.fields(self.config)}
        fields = {
            name: value
            for name, value in dataclasses.asdict(self.config).items()
            if value != default[name] and "/" not in str(value)
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


def study_jobs(recipe, dataset, folder, extra=None):
    """All jobs of a study, each after those that it needs.

    Args:
        recipe: a `StudyRecipe`.
        dataset: name of the data set.
        folder: of the study (`pathlib.Path`).
        extra: folder of prepared faces without labels, or None: rows that need it are left out.
    """
    jobs = {}
    for _, share, name, seed in sorted(_students(recipe)):
        row = ROWS_OF_STUDY[name]
        if (row.faces == "rest" and share == 1) or (row.faces == "extra" and extra is None):
            continue
        for teacher in row.teachers.values():
            for job in _teacher_jobs(recipe, dataset, folder, share, teacher):
                jobs.setdefault(job.name, job)
        job = _student_job(recipe, dataset, folder, row, name, share, seed, extra)
        jobs[job.name] = job
    return list(jobs.values())


def _students(recipe):
    """Yields (order, share, name of row, seed) of each student."""
    for number, name in enumerate(recipe.rows):
        row = ROWS_OF_STUDY[name]
        for share in recipe.shares:
            for seed in range(min(row.seeds if share in SHARES else row.curve, recipe.seeds)):
                later = (number >= _CORE) + (share not in SHARES) - 2 * (number < _FIRST and share in SHARES)
                yield (max(0, seed + later), number), share, name, seed


def _place(folder, share, name):
    return folder / f"{share * 100:g}-{name}"


def _teacher_jobs(recipe, dataset, folder, share, name):
    kind, _, folds = name.partition("-")
    for fold in range(1, recipe.folds + 1) if folds else (0,):
        fields = {"kind": kind, "dataset": dataset, "label_share": share} | recipe.teacher
        if fold:
            fields |= {"fold": fold, "folds": recipe.folds}
        part = f"/fold-{fold}" if fold else ""
        tough = _place(folder, share, f"tough{'-folds' * bool(folds)}{part}")
        needs = ()
        if kind == "tolerant":
            fields |= recipe.tolerant
        if kind == "tolerant" and "weights" not in recipe.tolerant:
            fields["weights"] = str(tough / "best.keras")
            yield from (
                _teacher_jobs(recipe, dataset, folder, share, f"tough{'-folds' * bool(folds)}") if fold < 2 else ()
            )
            needs = (str(tough.relative_to(folder)),)
        place = _place(folder, share, f"{name}{part}")
        yield Job(str(place.relative_to(folder)), TrainConfig(**fields), needs, share=share)


def _student_job(recipe, dataset, folder, row, name, share, seed, extra):
    fields = {"kind": "student", "dataset": dataset, "label_share": share, "seed": seed} | recipe.student | row.fields
    fields["epochs"] = round(fields["epochs"] * row.longer)
    if row.stored:
        fields.setdefault("teacher_views", round(fields["epochs"] / share))
    fields |= {one: str(_place(folder, share, teacher)) for one, teacher in row.teachers.items()}
    fields["unlabelled"] = str(extra) if row.faces == "extra" else row.faces
    needs = [job.name for one in row.teachers.values() for job in _teacher_jobs(recipe, dataset, folder, share, one)]
    place = _place(folder, share, f"{name}-seed{seed}")
    return Job(place.name, TrainConfig(**fields), tuple(needs), name, share, seed)


def run_jobs(jobs, prepared, folder, deadline):
    """Runs all jobs that are not done, together with other processes that do the same.

    Args:
        jobs: of `study_jobs`.
        prepared: the `PreparedDataset`.
        folder: of the study (`pathlib.Path`).
        deadline: a `kdloss.training.state.Deadline`; a job starts only before it.

    Raises:
        OutOfTime: the deadline came first; the same call goes on.
    """
    by_name, measured = {job.name: job for job in jobs}, read_rows(folder)

    def done(job):
        # A teacher is needed itself; of a student, only what was found.
        if job.row is None and not finished(folder / job.name):
            return False
        path = _result_path(folder, job)
        found = _read(path) if path.exists() else measured.get(job.name, {})
        return found.get("settings") == job.settings

    while pending := _pending(jobs, done):
        free = [
            job for job in pending if not _busy(folder / job.name) and all(done(by_name[need]) for need in job.needs)
        ]
        if not deadline.leaves(0):
            raise OutOfTime(f"{folder}: {len(pending)} of {len(jobs)} jobs are left")
        if free:
            _run(free[0], prepared, folder, len(pending), deadline)
        else:
            time.sleep(_WAIT)  # what is free next depends on a job that another process runs


def _pending(jobs, done):
    """The students that are not ``done``, and the teachers that they wait for, in order."""
    pending, wanted = [], set()
    for job in reversed(jobs):
        if (job.row or job.name in wanted) and not done(job):
            pending.insert(0, job)
            wanted.update(job.needs)
    return pending


def _busy(place):
    return place.exists() and is_held(place)


def _run(job, prepared, folder, pending, deadline):
    import keras

    from kdloss.evaluation.evaluation import evaluate_checkpoint
    from kdloss.training.fit import train

    print(f"[{pending} to go] {job.name}: {job.config.arch}, {counted(job.config.epochs, 'epoch')}", flush=True)
    try:
        results = train(job.config, prepared, folder / job.name, resume=True, verbose=False, deadline=deadline)
    except UserError:
        if _busy(folder / job.name):
            return  # another process was faster
        raise
    keras.config.set_dtype_policy("float32")
    evaluation = evaluate_checkpoint(prepared, folder / job.name)
    subsets = {name: values[f"nme_{evaluation.normaliser}"] for name, values in evaluation.metrics["subsets"].items()}
    record = {
        "name": job.name,
        "settings": job.settings,
        "row": job.row or job.name.split("-", 1)[1],
        "share": job.share,
        "seed": job.seed,
        "labels": results["train_faces"],
        "unlabelled": results["unlabelled_faces"],
        "epochs": results["epochs"],
        "seconds": results["seconds"],
        "val_nme": results["val_nme"],
        "nme": subsets,
        "content": evaluation.metrics["protocol"]["content"],
        "errors": [round(100 * error, 3) for error in evaluation.errors],
    }
    write_whole(_result_path(folder, job), json.dumps(record))


def _result_path(folder, job):
    return folder / ROWS / f"{job.name.replace('/', '-')}.json"


def read_rows(folder):
    """Name -> what was found, of all finished jobs and of an earlier `RESULTS` in the folder.

    Raises:
        DataError: a file is damaged.
    """
    found = _read(folder / RESULTS)["rows"] if (folder / RESULTS).is_file() else []
    found += map(_read, sorted((folder / ROWS).glob("*.json")))
    return {row["name"]: row for row in found}


def check_results(folder, prepared):
    """Checks that what a folder holds of a study is of these faces; raises `ConfigError` or `DataError`."""
    if {row["content"] for row in read_rows(folder).values()} - {prepared.manifest["content"]}:
        raise ConfigError(f"--out {folder}: holds results of a study of other faces: give another folder")


def _read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}): delete it; it will be made again") from error
