"""Boxes in files that users give."""

import json

import pytest

from kdloss.data.boxes import box_array, read_boxes
from kdloss.errors import DataError
from kdloss.inference.output import csv_header, csv_row

BOXES = {"a/b c.png": [[1, 2, 30, 40], [5.5, 6, 7, 8]], "d,e.png": [[-3, 0, 9, 9]]}


def as_arrays(path):
    return {name: box_array(boxes).tolist() for name, boxes in read_boxes(path).items()}


def test_json_and_csv_hold_the_same_boxes(tmp_path):
    (tmp_path / "boxes.txt").write_text(json.dumps(BOXES))
    rows = ["extra,name,height,width,x,y", "?,a/b c.png,40,30,1,2", '?,"d,e.png",9,9,-3,0', "?,a/b c.png,8,7,5.5,6"]
    (tmp_path / "boxes.CSV").write_text("\ufeff" + "\r\n".join(rows), encoding="utf-8")
    assert as_arrays(tmp_path / "boxes.txt") == as_arrays(tmp_path / "boxes.CSV") == BOXES


def test_the_table_of_predict_is_read(tmp_path):
    record = {"box": [1.5, 2, 30, 40], "score": None, "pose": None, "landmarks": [[3, 4]], "confidence": None}
    lines = [csv_header(1, "image", "face"), csv_row(record, "a.png", 0)]
    (tmp_path / "faces.csv").write_text("\n".join(",".join(map(str, line)) for line in lines))
    assert as_arrays(tmp_path / "faces.csv") == {"a.png": [[1.5, 2, 30, 40]]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"name,x,y\na.png,1,2", r"found columns name,x,y, expected"),
        (b'name,x,y,width,height\n"a', r"no CSV in UTF-8"),
    ],
)
def test_a_csv_that_holds_no_boxes_is_refused(tmp_path, content, problem):
    (tmp_path / "boxes.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"^--boxes .*boxes\.csv: {problem}"):
        read_boxes(tmp_path / "boxes.csv")


@pytest.mark.parametrize("box", [["1", "2", "nan", "4"], ["1", "2", "x", "4"], ["1", None, "3", "4"], [1, 2, 0, 4], 7])
def test_no_box(box):
    assert box_array([box]) is None
