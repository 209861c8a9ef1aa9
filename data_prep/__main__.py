"""Raw data sets to prepared folders, and synthetic faces in the official layouts.

python -m data_prep 300w --source RAW --out data/300w
python -m data_prep folder --source MY_FACES --out data/mine
python -m data_prep folder --source PHOTOGRAPHS --unlabelled --out data/more
python -m data_prep check data/300w
python -m data_prep show data/mine --out faces.png
python -m data_prep synthetic --layout cofw --count 400 --test-count 100 --seed 0 --out RAW
python -m data_prep unpack WFLW_images.tar.gz WFLW_annotations.tar.gz --out RAW
"""

import argparse

from data_prep.archives import unpack
from data_prep.check import check_prepared
from data_prep.prepare import READERS, prepare, print_progress
from data_prep.show import show_prepared
from kdloss.data.schemes import SCHEMES
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.experiments.flags import add_old_name, add_out_flag
from kdloss.files import require_place
from kdloss.inference.box_calibration import stored_calibration
from kdloss.inference.detectors import DETECTOR, DETECTORS, detector, photograph_detections

LAYOUTS = ("300w", "cofw", "wflw")
_READING = ("annotations", "category", "exif", "rescale")  # options of `data_prep.folder.read_folder`


def parser():
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m data_prep", description="Prepares raw data sets of faces.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in READERS:
        command = commands.add_parser(name, help=f"prepare {'your own faces' if name == 'folder' else name}")
        command.add_argument("--source", required=True, help="folder of the raw data set")
        add_out_flag(command, "prepared folder to make", required=True)
        command.add_argument("--size", type=int, default=256, help="side of the stored crops, pixels (256)")
        command.add_argument(
            "--crop-scale", type=float, default=2.0, help="side of a crop over the longer side of its landmarks (2.0)"
        )
        command.add_argument("--overwrite", action="store_true", help="replace an existing prepared folder")
        command.add_argument("--processes", type=int, metavar="N", help="processes that cut faces (one a core)")
        if name == "folder":
            _add_reading_flags(command)
            command.add_argument("--unlabelled", action="store_true", help="prepare faces without landmarks")
            known = "their landmark boxes, .csv with name,x,y,width,height or as for kdloss.predict (by default found)"
            command.add_argument("--boxes", metavar="FILE", help=known)
    check = commands.add_parser("check", help="read all of a prepared folder and report damage")
    check.add_argument("prepared", help="prepared folder")
    check.add_argument("--processes", type=int, metavar="N", help="threads that read pictures (one a core)")
    show = commands.add_parser("show", help="draw some of a prepared folder's faces, and count what to check")
    show.add_argument("prepared", help="prepared folder")
    add_out_flag(show, "picture to make, .png", required=True)
    show.add_argument("--count", type=int, default=12, help="faces, evenly from each split (12)")
    synthetic = commands.add_parser("synthetic", help="render faces and write them in an official layout")
    synthetic.add_argument("--layout", choices=LAYOUTS, required=True, help="official layout to write")
    synthetic.add_argument("--count", type=int, required=True, help="training faces")
    synthetic.add_argument("--test-count", type=int, help="test faces (a quarter of --count)")
    synthetic.add_argument("--seed", type=int, default=0, help="random seed of the faces (default: 0)")
    add_out_flag(synthetic, "folder to make", required=True)
    unpacked = commands.add_parser("unpack", help="unpack archives of a data set into a new folder, and nowhere else")
    unpacked.add_argument("archives", nargs="+", metavar="ARCHIVE", help=".zip, .tar, .tar.gz or .tgz")
    add_out_flag(unpacked, "folder to make", required=True)
    unpacked.add_argument("--most-gb", type=float, default=100.0, help="largest size together, unpacked, in GB (100)")
    return top


@exits_on_user_error
def main(argv=None):
    """Runs one command; returns the exit status."""
    args = parser().parse_args(argv)
    if args.command == "synthetic":
        _render(args)
    elif args.command == "unpack":
        _unpack(args)
    elif args.command == "show":
        _show(args)
    elif args.processes is not None and not 1 <= args.processes <= 1024:
        raise ConfigError(f"--processes {args.processes}: expected 1 to 1024")
    elif args.command == "check":
        found = check_prepared(args.prepared, args.processes)
        content = found.manifest["content"]
        print(f"{found.path}: all well: {len(found)} faces of {found.dataset}, content {content}")
    elif not 16 <= args.size <= 2048:
        raise ConfigError(f"--size {args.size}: expected 16 to 2048 pixels")
    elif not 1.0 <= args.crop_scale <= 5.0:
        raise ConfigError(f"--crop-scale {args.crop_scale:g}: expected 1 to 5")
    else:
        require_place(args.out)
        options = vars(args)
        if args.command == "folder":
            options |= {"reading": {name: value for name in _READING if (value := options.pop(name))}}
            options |= {"boxes": _boxes(options.pop("unlabelled"), args.boxes, options["reading"])}
        prepare(options.pop("command"), options.pop("source"), options.pop("out"), **options)
    return 0


def _render(args):
    from data_prep.layouts import write_layout  # SciPy and h5py take long to load, and only this command needs them

    options = {"count": args.count, "test_count": args.test_count, "seed": args.seed, "progress": print_progress}
    parts = write_layout(args.layout, args.out, **options)
    counts = ", ".join(f"{part} {count}" for part, count in parts.items())
    print(f"wrote {sum(parts.values())} synthetic faces in the layout of {args.layout} to {args.out}: {counts}")


def _show(args):
    if args.out.suffix.lower() != ".png" or not 1 <= args.count <= 1000:
        raise ConfigError(f"--out {args.out} --count {args.count}: expected a .png, and 1 to 1000 faces")
    require_place(args.out, folder=False)
    print("\n".join([*show_prepared(args.prepared, args.out, args.count), f"wrote {args.out}"]))


def _add_reading_flags(command):
    text = (
        "annotation files of one format (by default all of the folder): .pts, COCO or labelme .json, imglab .xml, .csv"
    )
    flag = command.add_argument("--annotations", nargs="+", metavar="FILE", help=text)
    add_old_name(command, flag, "--json")
    command.add_argument("--category", metavar="NAME", help="category to read of a COCO file, if several have points")
    text = "whether points refer to pictures turned by their EXIF orientation (by default their annotated sides tell)"
    command.add_argument("--exif", choices=("upright", "stored"), help=text)
    text = "scale points of pictures that were annotated in another size (by default they are skipped)"
    command.add_argument("--rescale", action="store_true", help=text)


def _boxes(unlabelled, boxes, reading):
    """The boxes for `prepare`: None for faces with landmarks, else a file, or a function that finds them."""
    if boxes is not None and not unlabelled:
        raise ConfigError(f"--boxes {boxes}: is for faces without landmarks: add --unlabelled, or leave it out")
    if reading and unlabelled:
        raise ConfigError(
            f"--{min(reading)}: is for landmarks, which --unlabelled does not read: leave one of them out"
        )
    return boxes if boxes is not None or not unlabelled else _finder()


def _finder():
    """A function from a picture (H, W, 3) uint8 RGB to the landmark boxes (k, 4) of the faces that are found in it."""
    smallest = DETECTORS[DETECTOR].SMALLEST
    finder, calibration = detector(DETECTOR, smallest=smallest), stored_calibration(DETECTOR, SCHEMES["68"])

    def find(image):
        found = photograph_detections(finder, image, smallest)
        # No network's confidence tells what is no face.
        return calibration.apply(found[found[:, 5] >= finder.sure, :5])[:, :4]

    return find


def _unpack(args):
    if not args.most_gb > 0:
        raise ConfigError(f"--most-gb {args.most_gb:g}: expected a size above 0")
    files, written = unpack(args.archives, args.out, most_bytes=args.most_gb * 1e9)
    print(f"unpacked {files} files, {written / 1e6:.1f} MB, to {args.out}")


if __name__ == "__main__":
    raise SystemExit(main())
