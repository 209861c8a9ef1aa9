"""Trains a student: ``python -m kdloss.train_student --method kd-loss --tough RUN --tolerant RUN``."""

import argparse

from kdloss.errors import exits_on_user_error
from kdloss.losses import KD_PRESETS
from kdloss.recipes import recipe
from kdloss.runs import find_teachers
from kdloss.training.checkpoint import read_card
from kdloss.training.command import add_training_flags, overrides, run_training
from kdloss.training.config import METHODS


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m kdloss.train_student", description=__doc__)
    parser.add_argument("--method", default="kd-loss", choices=METHODS, help="default: kd-loss")
    parser.add_argument("--tough", metavar="RUN", help="tough teacher: a run folder or a .keras file")
    parser.add_argument(
        "--tolerant", metavar="RUN", help="tolerant teacher; with neither, the newest of both are taken"
    )
    parser.add_argument("--preset", choices=list(KD_PRESETS), help="constants of the KD-Loss")
    parser.add_argument("--unit", choices=["normalised", "pixel"], help="unit of the errors in the KD-Loss")
    parser.add_argument("--teacher-views", type=int, metavar="K", help="store teachers on K views a face; 0: online")
    add_training_flags(parser)
    args = parser.parse_args(argv)
    changes = overrides(args) | {"method": args.method, "tough": args.tough, "tolerant": args.tolerant}
    if args.method == "kd-loss":
        if not (args.tough or args.tolerant):
            changes |= find_teachers(args.dataset)
            print(f"teachers: {changes['tough']} and {changes['tolerant']}")
        # Teachers see the student's views, so theirs is the size and the box unless the user says otherwise.
        card = read_card(changes["tough"] or changes["tolerant"])
        changes = {"image_size": card["image_size"], "box": card["box"]} | changes
        changes |= {"kd_preset": args.preset, "unit": args.unit, "teacher_views": args.teacher_views}
        part = "distilled"
    else:
        if args.preset or args.unit or args.teacher_views:
            parser.error("--preset, --unit and --teacher-views belong to --method kd-loss")
        part = "student"
    config = recipe(args.recipe).config(part, args.dataset, **changes)
    return run_training(config, args, f"{config.dataset}-student-{config.method}-{config.arch}")


if __name__ == "__main__":
    raise SystemExit(main())
