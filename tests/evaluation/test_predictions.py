"""Predictions files: round trips, and one clear line for each thing that can be wrong with them."""

import numpy as np
import pytest

from kdloss.errors import DataError
from kdloss.evaluation.predictions import SUFFIXES, load_predictions, mean_offset, save_predictions


@pytest.fixture
def rows(faces_300w):
    return faces_300w.indices("test")


@pytest.fixture
def good(faces_300w, rows):
    truth = faces_300w.source_points[rows]
    return {"names": faces_300w.table["name"][rows], "points": truth + 2.5, "truth": truth}


@pytest.fixture
def good_csv(good, tmp_path):
    """Path of a good .csv, and its lines."""
    path = tmp_path / "good.csv"
    save_predictions(path, **good)
    return path, path.read_text(encoding="utf-8").splitlines()


def refused(path, prepared, rows, message, missing="error"):
    """Checks that a file is refused in one line that begins with its name."""
    with pytest.raises(DataError, match=message) as caught:
        load_predictions(path, prepared, rows, missing)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip_in_any_order_of_names_that_need_care(suffix, faces_300w, rows, good, tmp_path, monkeypatch):
    good["names"] = ["a,b.png", 'say "cheese".png', " spaces  in front.png", "émile ☺.png", "#1", "", "'=x'", "=cmd"]
    table = faces_300w.table["name"].astype("U30")
    table[rows] = good["names"]
    monkeypatch.setitem(faces_300w.table, "name", table)
    order = np.random.default_rng(0).permutation(len(rows))
    path = tmp_path / "new folder" / f"mine{suffix}"
    save_predictions(path, *(np.array(good[key])[order] for key in ("names", "points", "truth")))
    points, unused = load_predictions(path, faces_300w, rows)
    assert np.array_equal(points, good["points"])
    assert unused == 0
    fewer, unused = load_predictions(path, faces_300w, rows[::2])
    assert np.array_equal(fewer, good["points"][::2])
    assert unused == 4
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_truth_is_optional_and_names_may_be_bytes(faces_300w, rows, good, tmp_path):
    np.savez(tmp_path / "mine.npz", names=np.char.encode(good["names"], "utf-8"), points=np.float32(good["points"]))
    points, _ = load_predictions(tmp_path / "mine.npz", faces_300w, rows)
    assert points == pytest.approx(good["points"], abs=1e-4)


def test_points_that_look_one_based_are_said_to(good):
    assert mean_offset(good["truth"] + 1.1, good["truth"]).startswith("its points lie +1.10, +1.10 px from the truth")
    assert mean_offset(good["points"], good["truth"]) == ""


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("missing", ["skip", "fail"])
def test_missing_faces_are_nan_where_that_is_asked_for(missing, suffix, faces_300w, rows, good, tmp_path):
    """Face 2 is named without points, face 5 is not named."""
    good["points"][2] = np.nan
    path = tmp_path / f"mine{suffix}"
    save_predictions(path, *(np.delete(good[key], 5, axis=0) for key in ("names", "points", "truth")))
    points, unused = load_predictions(path, faces_300w, rows, missing)
    assert np.flatnonzero(np.isnan(points).any(axis=(1, 2))).tolist() == [2, 5]
    assert np.array_equal(np.delete(points, 5, axis=0), np.delete(good["points"], 5, axis=0), equal_nan=True)
    assert np.isnan(points[5]).all()
    assert unused == 0
    message = r"2 of 8 faces are missing \(the first: test/face 2.png; 1 named without points\)"
    refused(path, faces_300w, rows, message + ".*--missing skip .*--missing fail")


@pytest.mark.parametrize("missing", ["error", "skip", "fail"])
def test_what_no_choice_of_missing_allows(missing, faces_300w, rows, good, tmp_path):
    path = tmp_path / "mine.npz"
    save_predictions(path, [f"cofw/{i}" for i in range(8)], good["points"], good["truth"])
    refused(path, faces_300w, rows, r"none of its names \(cofw/0, \.\.\.\) is that of a face", missing)
    good["points"][3, 1:] = np.nan
    save_predictions(path, **good)
    refused(path, faces_300w, rows, r"1 faces hold NaN.*\(the first: test/face 3.png\)", missing)
    good["points"][:] = np.nan
    save_predictions(path, **good)
    refused(path, faces_300w, rows, "holds no points for any of 8 faces", missing)


BAD = {
    "wrong N": (lambda a: a | {"points": a["points"][:, :67]}, "67 points a face, 300w has 68"),
    "duplicated": (
        lambda a: {key: values[[0, 3, 7, 3]] for key, values in a.items()},
        r"repeat \(the first: test/face 3.png\)",
    ),
    "1-based": (lambda a: a | {"truth": a["truth"] + 1}, r"truth is 1.4 px off for 8 of 8 faces.*1-based"),
    "no names": (lambda a: {"points": a["points"]}, r"no names in it \(found: points\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case, faces_300w, rows, good, tmp_path):
    change, message = BAD[case]
    np.savez(tmp_path / "mine.npz", **change(good))
    refused(tmp_path / "mine.npz", faces_300w, rows, message)


def test_files_of_another_kind(faces_300w, rows, good, tmp_path):
    (tmp_path / "text.npz").write_text("names,points")
    refused(tmp_path / "text.npz", faces_300w, rows, r"not a readable \.npz")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "utf-16.csv").write_text("name,x0,y0", encoding="utf-16")
    refused(tmp_path / "utf-16.csv", faces_300w, rows, r"not a readable \.csv in UTF-8")
    refused(tmp_path / "folder.csv", faces_300w, rows, "no regular file: give .* --checkpoint")
    refused(tmp_path / "absent.npz", faces_300w, rows, "no such file")
    with pytest.raises(DataError, match=r"expected one in \.npz or \.csv"):
        save_predictions(tmp_path / "new.txt", **good)
    assert not (tmp_path / "new.txt").exists()


def lines(change):
    """A change of the lines of a .csv (header first) as one of its bytes."""
    return lambda given: ("\n".join(change(list(given))) + "\n").encode()


def cell(line, column, value):
    def change(given):
        cells = given[line].split(",")
        cells[column] = value
        return [*given[:line], ",".join(cells), *given[line + 1 :]]

    return lines(change)


BAD_CSV = {
    "empty": (lambda given: b"", r"line 1: found nothing, expected a header name,x0,y0,x1,y1,\.\.\."),
    "no header": (lines(lambda given: given[1:]), r"line 1: found test/face 0.png,.*, expected a header"),
    "semicolons": (
        lines(lambda given: [text.replace(",", ";") for text in given]),
        "line 1: found name;x0;y0;.* with commas",
    ),
    "no number": (cell(4, 4, "n/a"), "line 5: .* 'n/a': give a name and numbers"),
    "one empty cell": (cell(4, 3, ""), r"1 faces hold .*empty.*\(the first: test/face 3.png\)"),
    "open quote": (cell(8, 0, '"test/face 7.png'), "line 9: unexpected end of data"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(case, faces_300w, rows, good_csv, tmp_path):
    change, message = BAD_CSV[case]
    path = tmp_path / "mine.csv"
    path.write_bytes(change(good_csv[1]))
    refused(path, faces_300w, rows, message)


def test_csv_as_spreadsheets_write_it(faces_300w, rows, good, good_csv, tmp_path):
    """A byte order mark, CRLF, all cells in quotes, spaces in the header, blank lines."""
    given = [", ".join(good_csv[1][0].split(",")), *good_csv[1][1:]]
    quoted = [",".join(f'"{value}"' for value in text.split(",")) for text in given]
    for text in (given, quoted):
        (tmp_path / "mine.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*text, "", ""]).encode())
        points, _ = load_predictions(tmp_path / "mine.csv", faces_300w, rows)
        assert np.array_equal(points, good["points"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_files_are_refused_in_one_line(suffix, faces_300w, rows, good, tmp_path):
    """Wherever the end is lost: within an array, a number, a line, or a name in quotes."""
    path = tmp_path / f"mine{suffix}"
    save_predictions(path, **good)
    whole = path.read_bytes()
    # All but the end of the last number, after which nothing tells that a digit is gone.
    for length in np.linspace(0, len(whole) - 40, 60).astype(int):
        path.write_bytes(whole[:length])
        refused(path, faces_300w, rows, ".")
