"""The public data sets: scheme, official counts, subsets, licence, citation, and where to get them."""

from dataclasses import dataclass, field

from kdloss.data.schemes import SCHEMES
from kdloss.errors import ConfigError


@dataclass(frozen=True)
class DatasetSpec:
    """What is known about a data set before a file of it is opened. Errors and reports show its last three fields."""

    name: str  # as typed after --dataset
    title: str  # as printed
    scheme: str  # name of its landmark scheme; empty for "folder", which holds a user's own points
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # {split: {source: official number of faces}}
    subsets: dict[str, int] = field(default_factory=dict)  # official counts of test subsets besides "full", all of it
    licence: str = ""
    citation: str = ""
    where: str = ""

    def official(self, split):
        """Official number of faces of ``train`` or ``test``; 0 if the data set has none."""
        return sum(self.counts.get(split, {}).values())


DATASETS = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            name="300w",
            title="300-W",
            scheme="68",
            counts={
                "train": {"afw": 337, "helen/trainset": 2000, "lfpw/trainset": 811},
                "test": {"helen/testset": 330, "lfpw/testset": 224, "ibug": 135},
            },
            subsets={"common": 554, "challenging": 135},
            licence="research use only, no redistribution",
            citation="Sagonas et al., 300 Faces in-the-Wild Challenge, ICCV Workshops 2013",
            where="https://ibug.doc.ic.ac.uk/resources/300-W/",
        ),
        DatasetSpec(
            name="cofw",
            title="COFW",
            scheme="29",
            counts={"train": {"COFW_train_color.mat": 1345}, "test": {"COFW_test_color.mat": 507}},
            licence="see the authors' page",
            citation="Burgos-Artizzu, Perona and Dollar, Robust face landmark estimation under occlusion, ICCV 2013",
            where="https://data.caltech.edu/records/bc0bf-nc666",
        ),
        DatasetSpec(
            name="wflw",
            title="WFLW",
            scheme="98",
            counts={"train": {"train": 7500}, "test": {"test": 2500}},
            subsets={
                "pose": 326,
                "expression": 314,
                "illumination": 698,
                "make-up": 206,
                "occlusion": 736,
                "blur": 773,
            },
            licence="research use only, no redistribution",
            citation="Wu et al., Look at Boundary: A Boundary-Aware Face Alignment Algorithm, CVPR 2018",
            where="https://wywu.github.io/projects/LAB/WFLW.html",
        ),
        DatasetSpec(name="folder", title="own faces", scheme=""),
    )
}


def dataset_spec(name):
    """The `DatasetSpec` called ``name``, or a `ConfigError` that lists the names."""
    if name not in DATASETS:
        raise ConfigError(f"--dataset {name}: expected one of {', '.join(DATASETS)}")
    return DATASETS[name]


def dataset_scheme(name):
    """The landmark scheme of a data set with fixed points."""
    return SCHEMES[dataset_spec(name).scheme]
