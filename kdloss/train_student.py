"""Trains a student, with or without teachers.

    python -m kdloss.train_student --method kd-loss --tough RUN --tolerant RUN

``--method fa``, ``ps`` and ``fa-ps`` follow the feature maps of ``--feature-teacher RUN`` instead, and
``kd-loss+fa-ps`` does both. Any network can be student or teacher of any other.
"""

import argparse
import dataclasses

from kdloss.errors import exits_on_user_error
from kdloss.experiments.flags import add_old_name
from kdloss.experiments.launch import add_training_flags, overrides, parsed, recipe_for, run_training
from kdloss.models.checkpoint import loadable_card
from kdloss.training.checks import teacher_files
from kdloss.training.config import METHODS, TrainConfig, flag
from kdloss.training.runs import find_checkpoint, find_teachers


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m kdloss.train_student", description=__doc__.split("\n")[0])
    actions = add_training_flags(parser, "student", method={"default": "kd-loss"})
    add_old_name(parser, actions["kd_preset"], "--preset")
    text = (
        "with --unlabelled: train again this often, with labels of the teachers and of the student before (default: 1)"
    )
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help=text)
    args = parsed(parser, argv)
    terms = METHODS[args.method]
    for field in dataclasses.fields(TrainConfig):
        term = field.metadata.get("term")
        if term and term not in terms and getattr(args, field.name):
            parser.error(f"{flag(field.name)} belongs to --method {term}")

    def config_of(name, fields):
        changes = overrides(args)
        if terms and "kd-loss" not in terms:
            changes["teacher_views"] = 0  # no points to store, so no reason to repeat views
        if fields is None:
            fields = _teachers(args, lambda kinds: dict.fromkeys(kinds, "the newest"))
        distilled = args.method != "none"
        return recipe_for(name, args.arch).config("student", args.dataset, distilled=distilled, **changes | fields)

    return run_training(args, "{dataset}-student-{method}-{arch}", config_of, lambda: _fields_of_teachers(args))


def _teachers(args, find_newest):
    """Field -> checkpoint or None: teachers are named by flags, and ``find_newest`` finds those that are missing."""
    terms = METHODS[args.method]
    teachers = {name: getattr(args, name) for name in ("tough", "tolerant", "feature_teacher")}
    if "kd-loss" in terms and not (args.tough or args.tolerant or args.placebo == "average"):
        teachers |= find_newest(("tough", "tolerant"))
    if {"fa", "ps"} & {*terms} and not args.feature_teacher:
        teacher = teachers["tough"] or teachers["tolerant"]
        teachers |= {"feature_teacher": teacher} if teacher else find_newest(("feature_teacher",))
    return teachers


def _fields_of_teachers(args):
    """The fields that depend on the teachers: their checkpoints, and the size and box of their views."""

    def find_newest(fields):
        if "tough" in fields:
            found = find_teachers(args.dataset)
            print(f"teachers: {found['tough']} and {found['tolerant']}")
            return found
        return {"feature_teacher": str(find_checkpoint(args.dataset, "tough", args.image_size, args.box))}

    for path in filter(None, (args.tough, args.tolerant, args.feature_teacher)):
        teacher_files(path)
    fields = _teachers(args, find_newest)
    if fields["feature_teacher"] and not args.feature_teacher:
        print(f"feature teacher: {fields['feature_teacher']}")
    if teacher := next(filter(None, fields.values()), None):
        # The student sees its teachers' views, so theirs is the size and the box unless the user says otherwise.
        card = loadable_card(teacher_files(teacher)[0])
        fields |= {"image_size": args.image_size or card["image_size"], "box": args.box or card["box"]}
    return fields


if __name__ == "__main__":
    raise SystemExit(main())
