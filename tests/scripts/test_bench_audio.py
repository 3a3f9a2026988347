"""The benchmark of spectrograms compares what is the same."""

from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.slow
def test_the_peers_give_the_same_values_and_both_are_timed(monkeypatch, capsys):
    pytest.importorskip("librosa")
    monkeypatch.syspath_prepend(SCRIPTS)
    import bench_audio

    times, seconds = bench_audio.bench(2, repeats=1, steps=1)
    assert seconds == 2
    assert list(times) == ["librosa", "jaxlm"]
    assert "jaxlm: (201, 80)" in capsys.readouterr().out
