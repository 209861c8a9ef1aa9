"""The systems: which networks each trains, from which others, in which order, and which rows are compared.

``kd-loss``: the runs of the KD-Loss paper. ``efficientfan``: a heatmap teacher, and students by feature-aligned (FA)
and patch-similarity (PS) distillation. ``crossed``: these, and each method on the other's networks, which neither paper
has.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

from kdloss.experiments.recipes import EFFICIENTFAN, KD_LOSS
from kdloss.names import counted
from kdloss.training.runs import finished
from kdloss.training.state import Deadline, OutOfTime

CONTINUED = "none-continued"


@dataclass(frozen=True)
class Run:
    """One training run of a chain.

    Args:
        name: of its folder.
        title: of its row in tables.
        kind, method: see `TrainConfig`.
        teachers: field of `TrainConfig` -> name of the run that is this teacher.
        distilled: whether it is a student with teachers, or the control of one.
        start: name of the run whose weights it starts from, or None.
        control: name of the run that it is compared with, or None.
        regressor: whether it trains a regressor, not the heatmap network of the system.
        unlabelled: whether it also learns faces without labels.
    """

    name: str
    title: str
    kind: str
    method: str = "none"
    teachers: dict[str, str] = field(default_factory=dict)
    distilled: bool = False
    start: str | None = None
    control: str | None = None
    regressor: bool = False
    unlabelled: bool = False

    def config(self, recipe, dataset, folder, seed=0, most_epochs=None):
        """Its `TrainConfig` by a `Recipe`, where the chain lies in ``folder`` (`pathlib.Path`)."""
        changes = {name: str(folder / run / "best.keras") for name, run in self.teachers.items()}
        start = folder / self.start / "best.keras" if self.start else None
        how = {"distilled": self.distilled, "start": start}
        how |= {"regressor": self.regressor, "labelling": self.unlabelled}
        config = recipe.config(self.kind, dataset, **how, method=self.method, seed=seed, **changes)
        return dataclasses.replace(config, epochs=min(config.epochs, most_epochs or config.epochs))


@dataclass(frozen=True)
class System:
    """What ``kdloss.reproduce --system`` trains.

    Args:
        title: of its reports.
        recipes: name -> `Recipe`.
        runs: (recipe, ablation) -> its `Run`\\ s, each after those that it needs.
    """

    title: str
    recipes: dict
    runs: Callable


def kd_loss_runs(recipe, ablation):
    """The runs of the KD-Loss paper, and the last run of the `Recipe` if it has one.

    ``ablation`` adds the other rows of the paper's table, one teacher alone, and the control of warm starts.
    """
    base = "none" if "student" in (recipe.warm or {}) else None
    control = CONTINUED if ablation and base else "none"
    runs = [
        Run("none", "student, no distillation", "student"),
        Run("tough", "tough teacher", "tough"),
        Run("tolerant", "tolerant teacher", "tolerant", start="tough" if recipe.warm else None),
    ]
    if control == CONTINUED:
        runs.append(Run(CONTINUED, "student, no distillation, trained on", "student", distilled=True, start=base))

    def student(name, title, *kinds):
        teachers = {kind: kind for kind in kinds}
        return Run(name, title, "student", "kd-loss", teachers, distilled=True, start=base, control=control)

    if ablation:
        runs.append(student("kd-tough", "student, tough teacher only", "tough"))
        runs.append(student("kd-tolerant", "student, tolerant teacher only", "tolerant"))
    runs.append(student("kd-both", "student, KD-Loss (both)", "tough", "tolerant"))
    if recipe.unlabelled:
        teacher = {"pseudo_teacher": "tough"}
        how = {"teachers": teacher, "distilled": True, "start": base, "control": control, "unlabelled": True}
        runs.append(Run("labelled", "student, faces labelled by the teacher", "student", **how))
    if recipe.finish:
        title = f"student, KD-Loss (both), trained on at {recipe.finish['image_size']} px"
        runs.append(Run("finished", title, "student", start="kd-both"))
    return runs


def efficientfan_runs(recipe, ablation):
    """A heatmap teacher, a student without it, and students that follow its feature maps, all from scratch.

    ``ablation`` adds the students by FA and by PS alone.
    """
    methods = ({"fa": "FA", "ps": "PS"} if ablation else {}) | {"fa-ps": "FA + PS"}
    return [
        Run("none", "heatmap student, no distillation", "student"),
        Run("teacher", "heatmap teacher", "tough"),
        *(_student(method, method, title, {"feature_teacher": "teacher"}) for method, title in methods.items()),
    ]


def crossed_runs(recipe, ablation):
    """`efficientfan_runs`, KD-Loss on the heatmap student, and both methods on a regressor.

    The regressor learns from the heatmap teachers: by FA and PS from their feature maps, by KD-Loss from their points.
    (KD-Loss alone on a regressor is the system ``kd-loss``.) If the recipe has a regressor as teacher, that one teaches
    by FA and PS too.
    """
    points, features = {"tough": "teacher", "tolerant": "tolerant"}, {"feature_teacher": "teacher"}
    both = ("kd-loss+fa-ps", "KD-Loss + FA + PS", points | features)
    runs = [
        *efficientfan_runs(recipe, ablation),
        Run("tolerant", "tolerant heatmap teacher", "tolerant", start="teacher" if recipe.warm else None),
        _student("kd-loss", "kd-loss", "KD-Loss", points),
        _student("kd-loss+fa-ps", *both),
        Run("regressor-none", "regressor, no distillation", "student", regressor=True),
        _student("regressor-fa-ps", "fa-ps", "FA + PS", features, regressor=True),
        _student("regressor-kd-loss+fa-ps", *both, regressor=True),
    ]
    if "teacher" in recipe.regressor:
        name, teacher = "regressor-fa-ps-regressor", {"feature_teacher": "regressor-teacher"}
        runs.append(Run("regressor-teacher", "regressor as teacher", "tough", regressor=True))
        runs.append(_student(name, "fa-ps", "FA + PS of a regressor", teacher, regressor=True))
    return runs


def _student(name, method, title, teachers, regressor=False):
    """A student from scratch; ``title`` is that of its method."""
    title = f"{'regressor' if regressor else 'heatmap student'}, {title}"
    control = "regressor-none" if regressor else "none"
    return Run(name, title, "student", method, teachers, distilled=True, control=control, regressor=regressor)


SYSTEMS = {
    "kd-loss": System("KD-Loss", KD_LOSS, kd_loss_runs),
    "efficientfan": System("EfficientFAN", EFFICIENTFAN, efficientfan_runs),
    "crossed": System("KD-Loss x EfficientFAN", EFFICIENTFAN, crossed_runs),
}
DEFAULT_SYSTEM = "kd-loss"


def run_chain(plan, prepared, folder, deadline=None):
    """Trains every run that is not finished yet, and resumes one that was cut off. Prints a line before each run.

    Args:
        plan: pairs of a `Run` and its `TrainConfig`, in order.
        prepared: the `PreparedDataset`.
        folder: of the chain (`pathlib.Path`), with a folder for each run.
        deadline: a `kdloss.training.state.Deadline` of the training.

    Returns:
        Name of run -> (run, config, results of its training).

    Raises:
        OutOfTime: the deadline came first; the same call goes on.
    """
    from kdloss.training.fit import train

    done, worked, deadline, began = {}, 0, deadline or Deadline(), time.monotonic()
    epochs = sum(config.epochs for run, config in plan if not finished(folder / run.name))
    for number, (run, config) in enumerate(plan, start=1):
        place, words = folder / run.name, [f"[{number}/{len(plan)}] {run.title}: "]
        if finished(place):
            words[0] += "done before"
        else:
            # Each call trains an epoch at least, however short its time; it begins no second run late.
            if worked and not deadline.leaves(0):
                raise OutOfTime(f"{place}: is the next run")
            words[0] += f"{config.arch}, {counted(config.epochs, 'epoch')}"
            if worked:
                gone = time.monotonic() - began
                left = gone / worked * (epochs - worked)
                words += [f"{tqdm.format_interval(gone)} gone", f"some {tqdm.format_interval(left)} left"]
            worked += config.epochs
        print(", ".join(words), flush=True)
        done[run.name] = (run, config, train(config, prepared, place, resume=True, deadline=deadline))
    return done
