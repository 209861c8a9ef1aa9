"""Trains a student: ``python -m kdloss.train_student --method kd-loss --tough RUN --tolerant RUN``.

``--method fa``, ``ps`` and ``fa-ps`` follow the feature maps of ``--feature-teacher RUN`` instead, and
``kd-loss+fa-ps`` does both. Any network can be student or teacher of any other.
"""

import argparse

from kdloss.errors import exits_on_user_error
from kdloss.losses.kd_presets import KD_PRESETS
from kdloss.runs import find_checkpoint, find_teachers
from kdloss.training.command import add_training_flags, distributed, overrides, recipe_for, run_training
from kdloss.training.config import METHODS

# Flags of one way of distilling: given without it they would do nothing.
_POINTS = ("preset", "unit", "teacher_views")
_FEATURES = {"fa_weight": "fa", "ps_weight": "ps"}


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m kdloss.train_student", description=__doc__.split("\n")[0])
    parser.add_argument("--method", default="kd-loss", choices=METHODS, help="default: kd-loss")
    parser.add_argument("--tough", metavar="RUN", help="tough teacher: a run folder or a .keras file")
    parser.add_argument(
        "--tolerant", metavar="RUN", help="tolerant teacher; with neither, the newest of both are taken"
    )
    parser.add_argument(
        "--feature-teacher",
        metavar="RUN",
        help="teacher of fa and ps (default: that of --tough or --tolerant, else the newest tough one)",
    )
    parser.add_argument("--preset", choices=list(KD_PRESETS), help="constants of the KD-Loss")
    parser.add_argument("--unit", choices=["normalised", "pixel"], help="unit of the errors in the KD-Loss")
    parser.add_argument("--teacher-views", type=int, metavar="K", help="store teachers' points on K views a face")
    parser.add_argument("--fa-weight", type=float, metavar="W", help="of the feature-aligned term (default: 0.01)")
    parser.add_argument(
        "--ps-weight", type=float, metavar="W", help="of the patch-similarity term (default: the recipe's, else 0.01)"
    )
    add_training_flags(parser)
    args = parser.parse_args(argv)
    terms = METHODS[args.method]
    if "kd-loss" not in terms and any(getattr(args, name) for name in _POINTS):
        parser.error("--preset, --unit and --teacher-views belong to --method kd-loss")
    for name, term in _FEATURES.items():
        if getattr(args, name) is not None and term not in terms:
            parser.error(f"--{name.replace('_', '-')} belongs to --method {term}")
    with distributed(args) as distribution:
        config = _config(args, terms)
        return run_training(config, args, f"{config.dataset}-student-{config.method}-{config.arch}", distribution)


def _config(args, terms):
    """The `TrainConfig`: flags, the teachers they name or the newest, and what goes with these."""
    changes = overrides(args) | {"method": args.method, "tough": args.tough, "tolerant": args.tolerant}
    changes |= {"feature_teacher": args.feature_teacher}
    if "kd-loss" in terms:
        if not (args.tough or args.tolerant):
            changes |= find_teachers(args.dataset)
            print(f"teachers: {changes['tough']} and {changes['tolerant']}")
        changes |= {"kd_preset": args.preset, "unit": args.unit, "teacher_views": args.teacher_views}
    if set(_FEATURES.values()) & set(terms):
        if not args.feature_teacher:
            newest = changes["tough"] or changes["tolerant"]
            newest = newest or str(find_checkpoint(args.dataset, "tough", args.image_size, args.box))
            changes["feature_teacher"] = newest
            print(f"feature teacher: {changes['feature_teacher']}")
        changes |= {name: getattr(args, name) for name in _FEATURES}
        if "kd-loss" not in terms:
            changes["teacher_views"] = 0  # no points to store, so no reason to repeat views
    if terms and (teacher := changes["tough"] or changes["tolerant"] or changes["feature_teacher"]):
        # Teachers see the student's views, so theirs is the size and the box unless the user says otherwise.
        from kdloss.training.checkpoint import read_card

        card = read_card(teacher)
        changes = {"image_size": card["image_size"], "box": card["box"]} | changes
    part = "student" if args.method == "none" else "distilled"
    return recipe_for(args).config(part, args.dataset, **changes)


if __name__ == "__main__":
    raise SystemExit(main())
