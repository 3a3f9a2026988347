"""TensorBoard's events can be read, and a disk that fails ends them and not the run."""

import os
import struct

import pytest

from jaxlm.train.progress import tensorboard

pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")


def events(directory):
    """The events of a directory, read by the format's definition: length, its checksum, content, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = directory.iterdir()
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def test_events_have_the_restored_update_and_every_scalar(tmp_path):
    (writer,) = tensorboard(tmp_path / "tensorboard", 3, say=lambda text: pytest.fail(text))
    writer.record(4, {"train/loss": 1.5, "time/step": 0.25})
    writer.close()
    version, begin, record = events(tmp_path / "tensorboard")
    assert version.file_version == "brain.Event:2"
    assert (begin.step, begin.session_log.status) == (3, begin.session_log.START)
    assert record.step == 4
    assert {value.tag: value.simple_value for value in record.summary.value} == {"train/loss": 1.5, "time/step": 0.25}


@pytest.mark.parametrize("method", ["write", "flush"])
def test_a_disk_that_fails_ends_the_events_with_one_line(tmp_path, monkeypatch, method):
    from tensorboardX.record_writer import RecordWriter

    def fail(*_):
        raise OSError(28, os.strerror(28))

    said = []
    monkeypatch.setattr("jaxlm.train.progress.FLUSHED_EVERY", 0)
    (writer,) = tensorboard(tmp_path / "tensorboard", 0, said.append)
    monkeypatch.setattr(RecordWriter, method, fail)
    for step in range(50):  # more than a queue would take
        writer.record(step, {"train/loss": 1.0})
    writer.close()
    assert said == ["TensorBoard: no more events are written (No space left on device)"]


def test_a_directory_that_cannot_be_made_ends_the_events_with_one_line(tmp_path):
    (tmp_path / "tensorboard").write_text("a file")
    said = []
    (writer,) = tensorboard(tmp_path / "tensorboard", 0, said.append)
    writer.record(1, {"train/loss": 1.0})
    writer.close()
    assert said == ["TensorBoard: no more events are written (File exists)"]
