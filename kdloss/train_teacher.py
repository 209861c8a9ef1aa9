"""Trains a teacher on annotated landmarks, or on soft ones.

    python -m kdloss.train_teacher --kind tolerant

The tough teacher learns the annotated (hard) landmarks, the tolerant one the soft landmarks of a shape model. Any
network can teach: ``--arch efficientnetb3`` regresses points, ``--arch efficientfan-b7`` reads them from heatmaps.
"""

import argparse

from kdloss.errors import exits_on_user_error
from kdloss.experiments.launch import add_training_flags, overrides, parsed, recipe_for, run_training


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m kdloss.train_teacher", description=__doc__.split("\n")[0])
    parser.add_argument("--shape", help="shape model of python -m asm fit (default: fitted on the training faces)")
    add_training_flags(parser, "teacher", kind={"default": "tough", "choices": ("tough", "tolerant")})
    args = parsed(parser, argv)
    if args.kind == "tough" and (args.shape or args.variance):
        parser.error("--shape and --variance make soft landmarks, which only --kind tolerant learns")
    if args.shape and args.variance:
        parser.error("--variance: the model of --shape has its own; give one of the two")

    def config_of(name, _):
        return recipe_for(name, args.arch).config(args.kind, args.dataset, **overrides(args))

    return run_training(args, "{dataset}-{kind}-{arch}", config_of, shape=args.shape)


if __name__ == "__main__":
    raise SystemExit(main())
