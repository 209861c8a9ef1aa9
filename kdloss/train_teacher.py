"""Trains a teacher: ``python -m kdloss.train_teacher --kind tolerant``.

The tough teacher learns the annotated (hard) landmarks, the tolerant one the soft landmarks of a shape model. Any
network can teach: ``--arch efficientnetb3`` regresses points, ``--arch efficientfan-b7`` reads them from heatmaps.
"""

import argparse

from asm import ShapeModel
from kdloss.errors import exits_on_user_error
from kdloss.training.command import add_training_flags, distributed, overrides, recipe_for, run_training


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m kdloss.train_teacher", description=__doc__.split("\n")[0])
    parser.add_argument("--kind", default="tough", choices=["tough", "tolerant"], help="default: tough")
    parser.add_argument("--shape", help="shape model of python -m asm fit (default: fitted on the training faces)")
    parser.add_argument("--variance", type=float, help="share of shape variance that soft landmarks keep (0.90)")
    add_training_flags(parser)
    args = parser.parse_args(argv)
    changes = overrides(args) | {"variance": args.variance}
    if args.kind == "tough" and (args.shape or args.variance):
        parser.error("--shape and --variance make soft landmarks, which only --kind tolerant learns")
    if args.shape and args.variance:
        parser.error("--variance: the model of --shape has its own; give one of the two")
    with distributed(args) as distribution:
        config = recipe_for(args).config(args.kind, args.dataset, **changes)
        shape = ShapeModel.load(args.shape) if args.shape else None
        return run_training(config, args, f"{config.dataset}-{config.kind}-{config.arch}", distribution, shape)


if __name__ == "__main__":
    raise SystemExit(main())
