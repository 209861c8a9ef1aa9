"""A disk that fills up while a run writes to it: one clear line, and the run goes on once there is room."""

import shutil

import pytest

from kdloss.errors import UserError
from kdloss.models.checkpoint import load_model
from kdloss.training import callbacks as recorder
from kdloss.training.fit import train
from tests.training.run_folders import files_of, rows_of, state_of
from tests.training.tiny_chain import tiny_config


@pytest.mark.slow
@pytest.mark.parametrize(("written", "file"), [("save_model", "best.keras"), ("save_state", "last/state.npz")])
def test_a_run_goes_on_when_there_is_room_again(written, file, faces, small_disk, monkeypatch):
    config, run, filler = tiny_config(epochs=3), small_disk / "run", small_disk / "filler"
    write = getattr(recorder, written)

    def after_the_disk_is_full(path, *what):
        if path.exists():
            with pytest.raises(OSError, match="No space left"):
                filler.write_bytes(b"x" * shutil.disk_usage(small_disk).total)
        write(path, *what)

    # Whatever the network does, each epoch is taken for better.
    scores = iter([9.0, 8.0, 8.0, 7.0])
    monkeypatch.setattr("kdloss.training.fit.nme", lambda errors: next(scores))
    with monkeypatch.context() as patch:
        patch.setattr(recorder, written, after_the_disk_is_full)
        with pytest.raises(UserError, match=rf"^{run / file}: no space left on the disk"):
            train(config, faces, run, verbose=0)
    assert len(state_of(run)) > 10
    load_model(run)
    filler.unlink()
    train(config, faces, run, verbose=0)
    assert [row["epoch"] for row in rows_of(run)] == [1, 2, 3]
    assert not [name for name in files_of(run) if ".partial" in name]
