"""Trains a student: ``python -m kdloss.train_student --method kd-loss --tough RUN --tolerant RUN``.

``--method fa``, ``ps`` and ``fa-ps`` follow the feature maps of ``--feature-teacher RUN`` instead, and
``kd-loss+fa-ps`` does both. Any network can be student or teacher of any other.
"""

import argparse

from kdloss.errors import exits_on_user_error
from kdloss.experiments.flags import add_training_flags, overrides, recipe_for, run_training
from kdloss.losses.kd_presets import KD_PRESETS
from kdloss.models.checkpoint import loadable_card
from kdloss.training.config import METHODS
from kdloss.training.runs import find_checkpoint, find_teachers

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
    how = {name: getattr(args, name) for name in _FEATURES}
    if "kd-loss" in terms:
        how |= {"kd_preset": args.preset, "unit": args.unit, "teacher_views": args.teacher_views}
    elif terms:
        how["teacher_views"] = 0  # no points to store, so no reason to repeat views

    def config_of(preset, teachers):
        if teachers is None:
            teachers = _teachers(args, terms, lambda roles: dict.fromkeys(roles, "the newest"))
            # They may see views of another size than the recipe's, for which the stages are.
            teachers |= {"stages": None} if terms else {}
        part = "student" if args.method == "none" else "distilled"
        changes = overrides(args) | {"method": args.method} | how | teachers
        return recipe_for(preset, args.arch).config(part, args.dataset, **changes)

    return run_training(args, "{dataset}-student-{method}-{arch}", config_of, lambda: _found(args, terms))


def _teachers(args, terms, find):
    """Role -> checkpoint or None: the teachers that flags name, else what ``find`` returns for the roles missing."""
    named = {role: getattr(args, role) for role in ("tough", "tolerant", "feature_teacher")}
    if "kd-loss" in terms and not (args.tough or args.tolerant):
        named |= find(("tough", "tolerant"))
    if {"fa", "ps"} & {*terms} and not args.feature_teacher:
        newest = named["tough"] or named["tolerant"]
        named |= {"feature_teacher": newest} if newest else find(("feature_teacher",))
    return named


def _found(args, terms):
    """The fields that only teachers tell: which they are, and what views they see."""

    def newest(roles):
        if "tough" in roles:
            found = find_teachers(args.dataset)
            print(f"teachers: {found['tough']} and {found['tolerant']}")
            return found
        return {"feature_teacher": str(find_checkpoint(args.dataset, "tough", args.image_size, args.box))}

    for path in filter(None, (args.tough, args.tolerant, args.feature_teacher)):
        loadable_card(path)
    found = _teachers(args, terms, newest)
    if found["feature_teacher"] and not args.feature_teacher:
        print(f"feature teacher: {found['feature_teacher']}")
    if teacher := next(filter(None, found.values()), None):
        # The student sees its teachers' views, so theirs is the size and the box unless the user says otherwise.
        card = loadable_card(teacher)
        found |= {"image_size": args.image_size or card["image_size"], "box": args.box or card["box"]}
    return found


if __name__ == "__main__":
    raise SystemExit(main())
