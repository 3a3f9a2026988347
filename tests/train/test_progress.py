"""What a person sees: one line a record, and a bar that fits a terminal."""

from jaxlm.train.progress import Bar, brief, utilisation

METRICS = {
    "train/loss": 1.5,
    "train/accuracy": 0.25,
    "train/skipped": 0.0,
    "time/step": 0.05,
    "time/data_wait": 0.015,
    "time/tokens_per_second": 12345.6,
}


def test_a_record_is_one_line_with_speed_and_waiting():
    told = brief(50, METRICS)
    assert told == "step 50  loss 1.5  accuracy 0.25  50 ms/step  12,346 tokens/s  data wait 1.5%"
    assert "skipped 0.5" in brief(50, METRICS | {"train/skipped": 0.5})


def test_the_bar_shows_loss_and_speed_within_eighty_columns(capsys):
    bar = Bar(100, 0)
    bar.record(50, METRICS)
    bar.record(50, {"eval/loss": 2.0})
    bar.close()
    lines = capsys.readouterr().out.splitlines()
    assert "step 50  eval/loss 2" in lines
    assert any("50/100" in line and "loss 1.5  12,346 tokens/s  data wait 1.5%" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_utilisation_is_told_only_where_the_peak_is_known():
    assert utilisation(989e12, 2.0, "NVIDIA H100 80GB HBM3", 1) == {"time/mfu": 0.5}
    assert utilisation(1e12, 1.0, "cpu", 1) == {}
    assert utilisation(None, 1.0, "TPU v4", 1) == {}
