"""The state of a raw folder: another when anything in it changes, and the same otherwise."""

import os

from data_prep.source_state import state_of


def test_any_change_is_another_state(tmp_path, monkeypatch):
    folder = tmp_path / "raw"
    (folder / "deep").mkdir(parents=True)
    (folder / "broken.png").symlink_to("nowhere")
    (folder / os.fsdecode(b"odd\xff.png")).write_bytes(b"3")
    file = folder / "deep" / "b.png"
    states = [state_of(folder)]
    file.write_bytes(b"2")
    states.append(state_of(folder))
    file.write_bytes(b"22")
    states.append(state_of(folder))
    os.utime(file, ns=(0, 0))
    states.append(state_of(folder))
    (folder / "nowhere").write_bytes(b"4")
    states.append(state_of(folder))
    monkeypatch.chdir(tmp_path)
    assert {state_of("raw"), state_of(folder / "deep" / "..")} == {states[-1]}
    states.append(state_of(folder.rename(tmp_path / "moved")))
    assert len(set(states)) == len(states) == 6
