"""The systems: which networks each trains, from which others, in which order, and which rows are compared.

``kd-loss``: the runs of the KD-Loss paper. ``efficientfan``: a heatmap teacher, and students by feature-aligned (FA)
and patch-similarity (PS) distillation. ``crossed``: these, and each method on the other's networks, which neither paper
has.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from kdloss.data.geometry import BoxPolicy
from kdloss.experiments.recipes import EFFICIENTFAN, KD_LOSS
from kdloss.training.runs import finished
from kdloss.training.soft_landmarks import fit_shape_model
from kdloss.training.state import Deadline, OutOfTime

CONTINUED = "none-continued"


@dataclass(frozen=True)
class Link:
    """One training run of a chain.

    Args:
        name: of its run folder.
        title: of its row in tables.
        part: of the recipe, see `Recipe.config`.
        method: of a student, see `TrainConfig`.
        teachers: role (a field of `TrainConfig`) -> name of the run that is this teacher.
        start: name of the run whose weights it starts from, or None.
        control: name of the run that it is compared with, or None.
        regressor: see `Recipe.config`.
    """

    name: str
    title: str
    part: str
    method: str = "none"
    teachers: dict[str, str] = field(default_factory=dict)
    start: str | None = None
    control: str | None = None
    regressor: bool = False


@dataclass(frozen=True)
class System:
    """What ``kdloss.reproduce --system`` trains.

    Args:
        title: of its reports.
        recipes: preset -> `Recipe`.
        links: (recipe, ablation) -> its `Link`\\ s, each after those that it needs.
        best: name of the link whose faces the report shows.
    """

    title: str
    recipes: dict
    links: Callable
    best: str


def kd_loss_links(recipe, ablation=True):
    """The runs of the KD-Loss paper, the student with both teachers after all others; then its last run, if any.

    Args:
        recipe: a `Recipe`.
        ablation: train the other rows of the paper's table too: one teacher alone, and the control of warm starts.
    """
    base = "none" if recipe.warm else None
    control = CONTINUED if ablation and recipe.warm else "none"
    links = [
        Link("none", "student, no distillation", "student"),
        Link("tough", "tough teacher", "tough"),
        Link("tolerant", "tolerant teacher", "tolerant", start="tough" if recipe.warm else None),
    ]
    if control == CONTINUED:
        links.append(Link(CONTINUED, "student, no distillation, trained on", "distilled", start=base))

    def distilled(name, title, *roles):
        teachers = {role: role for role in roles}
        return Link(name, title, "distilled", "kd-loss", teachers, start=base, control=control)

    if ablation:
        links.append(distilled("kd-tough", "student, tough teacher only", "tough"))
        links.append(distilled("kd-tolerant", "student, tolerant teacher only", "tolerant"))
    links.append(distilled("kd-both", "student, KD-Loss (both)", "tough", "tolerant"))
    if recipe.finish:
        title = f"student, KD-Loss (both), trained on at {recipe.finish['image_size']} px"
        links.append(Link("finished", title, "finish", start="kd-both"))
    return links


def efficientfan_links(recipe, ablation=True):
    """A heatmap teacher, a student without it, and students that follow its feature maps, all from scratch.

    Args:
        recipe: a `Recipe`.
        ablation: train the students by FA and by PS alone too.
    """
    methods = ("fa", "ps", "fa-ps") if ablation else ("fa-ps",)
    return [
        Link("none", "heatmap student, no distillation", "student"),
        Link("teacher", "heatmap teacher", "tough"),
        *(_student(method, method, {"feature_teacher": "teacher"}) for method in methods),
    ]


def crossed_links(recipe, ablation=True):
    """`efficientfan_links`, KD-Loss on the heatmap student, and both methods on a regressor.

    The regressor learns from the heatmap teachers: their maps of the same sides for FA and PS, their points for
    KD-Loss (by that alone it is a student of the system ``kd-loss``). Where the recipe has a regressor as teacher, it
    teaches by FA and PS too, from one trunk to the other.

    Args:
        recipe: a `Recipe`.
        ablation: see `efficientfan_links`.
    """
    points, features = {"tough": "teacher", "tolerant": "tolerant"}, {"feature_teacher": "teacher"}
    links = [
        *efficientfan_links(recipe, ablation),
        Link("tolerant", "tolerant heatmap teacher", "tolerant", start="teacher" if recipe.warm else None),
        _student("kd-loss", "kd-loss", points),
        _student("kd-loss+fa-ps", "kd-loss+fa-ps", points | features),
        Link("regressor-none", "regressor, no distillation", "student", regressor=True),
        _student("regressor-fa-ps", "fa-ps", features, regressor=True),
        _student("regressor-kd-loss+fa-ps", "kd-loss+fa-ps", points | features, regressor=True),
    ]
    if "teacher" in recipe.regressor:
        by_regressor = {"feature_teacher": "regressor-teacher"}
        links.append(Link("regressor-teacher", "regressor as teacher", "tough", regressor=True))
        links.append(_student("regressor-fa-ps-regressor", "fa-ps", by_regressor, regressor=True, of=" of a regressor"))
    return links


_METHOD_TITLES = {
    "kd-loss": "KD-Loss",
    "fa": "FA",
    "ps": "PS",
    "fa-ps": "FA + PS",
    "kd-loss+fa-ps": "KD-Loss + FA + PS",
}


def _student(name, method, teachers, regressor=False, of=""):
    title = f"{'regressor' if regressor else 'heatmap student'}, {_METHOD_TITLES[method]}{of}"
    control = "regressor-none" if regressor else "none"
    return Link(name, title, "distilled", method, teachers, control=control, regressor=regressor)


SYSTEMS = {
    "kd-loss": System("KD-Loss", KD_LOSS, kd_loss_links, "kd-both"),
    "efficientfan": System("EfficientFAN", EFFICIENTFAN, efficientfan_links, "fa-ps"),
    "crossed": System("KD-Loss x EfficientFAN", EFFICIENTFAN, crossed_links, "kd-loss+fa-ps"),
}
DEFAULT_SYSTEM = "kd-loss"


def link_config(link, recipe, dataset, folder):
    """The `TrainConfig` of a link whose chain lies in ``folder``."""
    changes = {role: str(folder / name / "best.keras") for role, name in link.teachers.items()}
    if link.part in ("student", "distilled", "finish"):
        changes["method"] = link.method
    start = folder / link.start / "best.keras" if link.start else None
    return recipe.config(link.part, dataset, start=start, regressor=link.regressor, **changes)


def run_chain(links, recipe, prepared, folder, announce=print, deadline=None):
    """Trains every link that is not finished yet, resuming one that was cut off.

    Args:
        links: of a `System`.
        recipe: a `Recipe`.
        prepared: the `PreparedDataset`.
        folder: of the chain (`pathlib.Path`); each link is a run folder in it.
        announce: called with one line before each link.
        deadline: a `kdloss.training.state.Deadline`: work stops before it, and the same call goes on.

    Returns:
        Name of link -> (link, config, results of its training).

    Raises:
        OutOfTime: the deadline came first.
    """
    from kdloss.training.fit import train

    done, worked, deadline = {}, False, deadline or Deadline()
    for number, link in enumerate(links, start=1):
        config = link_config(link, recipe, prepared.dataset, folder)
        place = folder / link.name
        state = "done before" if finished(place) else f"{config.arch}, {config.epochs} epochs"
        announce(f"[{number}/{len(links)}] {link.title}: {state}")
        if not finished(place):
            # Each call does an epoch at least, however short its time; it begins no second run late.
            if worked and not deadline.leaves(0):
                raise OutOfTime(f"{place}: is the next run")
            worked = True
        shape = None
        if link.part == "tolerant":
            shape = fit_shape_model(prepared, BoxPolicy.parse(config.box), config.variance)
        done[link.name] = (link, config, train(config, prepared, place, resume=True, shape=shape, deadline=deadline))
    return done
