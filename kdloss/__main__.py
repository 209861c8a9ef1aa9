"""``kdloss VERB ...`` or ``python -m kdloss VERB ...``: the commands under one name."""

import importlib
import sys

from kdloss.errors import exits_on_user_error

VERBS = {
    "prepare": ("data_prep.__main__", "prepare a raw data set, or render synthetic faces"),
    "shape": ("asm.__main__", "fit, plot and apply a shape model"),
    "train_teacher": ("kdloss.train_teacher", "train the tough or the tolerant teacher"),
    "train_student": ("kdloss.train_student", "train a student, with or without teachers"),
    "evaluate": ("kdloss.evaluate", "measure and compare checkpoints and predictions files"),
    "benchmark": ("kdloss.benchmark", "measure what networks cost, and how fast faces are read"),
    "predict": ("kdloss.predict", "find faces and landmarks in photographs, videos and camera pictures"),
    "serve": ("kdloss.serve", "show landmarks in the browser, of photographs and the camera"),
    "export": ("kdloss.export", "export a trained network for LiteRT, ONNX or TensorFlow"),
    "calibrate": ("kdloss.calibrate", "calibrate the confidence of a network, or the boxes of a detector"),
    "reproduce": ("kdloss.reproduce", "train, measure and report a whole system"),
    "doctor": ("kdloss.doctor", "say what works on this machine, and what to do about what does not"),
}
# Old verb -> the words that replace it; kept for one release.
OLD_VERBS = {"confidence": ("calibrate", "confidence")}


@exits_on_user_error
def main(argv=None):
    """Runs a verb and returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, VERBS))
        print("usage: kdloss VERB ...  (kdloss VERB --help tells more)\n")
        print("\n".join(f"  {verb:<{width}}  {about}" for verb, (_, about) in VERBS.items()))
        return 0
    if words[0] in OLD_VERBS:
        new = OLD_VERBS[words[0]]
        print(f"kdloss {words[0]} is now kdloss {' '.join(new)}", file=sys.stderr)
        words[:1] = new
    verb, *rest = words
    if verb not in VERBS:
        print(f"error: kdloss {verb}: no such verb: expected one of {', '.join(VERBS)}", file=sys.stderr)
        return 2
    return importlib.import_module(VERBS[verb][0]).main(rest)


if __name__ == "__main__":
    raise SystemExit(main())
