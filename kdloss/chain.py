"""The chain of one recipe: which networks are trained, from which others, in which order."""

from dataclasses import dataclass

from kdloss.geometry import BoxPolicy
from kdloss.runs import finished
from kdloss.soft_landmarks import fit_shape_model
from kdloss.training.fit import train

CONTROL = "none-continued"


@dataclass(frozen=True)
class Link:
    """One training run of the chain.

    Args:
        name: of its run folder.
        title: of its row in tables.
        part: of the recipe, see `Recipe.config`.
        teachers: roles of the teachers that it distils from.
        start: name of the run whose weights it starts from, or None.
    """

    name: str
    title: str
    part: str
    teachers: tuple[str, ...] = ()
    start: str | None = None

    @property
    def is_teacher(self):
        return self.part in ("tough", "tolerant")


def chain(recipe, ablation=True):
    """The links of a recipe, each after those that it needs; the student with both teachers last.

    Args:
        recipe: a `Recipe`.
        ablation: train the other rows of the paper's table too: one teacher alone, and the control of warm starts.
    """
    base = "none" if recipe.warm else None
    links = [
        Link("none", "student, no distillation", "student"),
        Link("tough", "tough teacher", "tough"),
        Link("tolerant", "tolerant teacher", "tolerant", start="tough" if recipe.warm else None),
    ]
    if ablation and recipe.warm:
        links.append(Link(CONTROL, "student, no distillation, trained on", "distilled", start=base))
    if ablation:
        links.append(Link("kd-tough", "student, tough teacher only", "distilled", ("tough",), base))
        links.append(Link("kd-tolerant", "student, tolerant teacher only", "distilled", ("tolerant",), base))
    return [*links, Link("kd-both", "student, KD-Loss (both)", "distilled", ("tough", "tolerant"), base)]


def link_config(link, recipe, dataset, folder):
    """The `TrainConfig` of a link whose chain lies in ``folder``."""
    changes = {role: str(folder / role / "best.keras") for role in link.teachers}
    if link.part in ("student", "distilled"):
        changes["method"] = "kd-loss" if link.teachers else "none"
    start = folder / link.start / "best.keras" if link.start else None
    return recipe.config(link.part, dataset, start=start, **changes)


def run_chain(recipe, prepared, folder, ablation=True, announce=print):
    """Trains every link that is not finished yet, resuming one that was cut off.

    Args:
        recipe: a `Recipe`.
        prepared: the `PreparedDataset`.
        folder: of the chain (`pathlib.Path`); each link is a run folder in it.
        ablation: see `chain`.
        announce: called with one line before each link.

    Returns:
        Name of link -> (link, config, results of its training).
    """
    done = {}
    for number, link in enumerate(links := chain(recipe, ablation), start=1):
        config = link_config(link, recipe, prepared.dataset, folder)
        place = folder / link.name
        state = "done before" if finished(place) else f"{config.arch}, {config.epochs} epochs"
        announce(f"[{number}/{len(links)}] {link.title}: {state}")
        shape = None
        if link.part == "tolerant":
            shape = fit_shape_model(prepared, BoxPolicy.parse(config.box), config.variance)
        done[link.name] = (link, config, train(config, prepared, place, resume=True, shape=shape))
    return done
