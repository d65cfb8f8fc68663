"""Which curves are drawn from a log."""

from __future__ import annotations

from evaluation.report.training_curves import draw_training


def test_every_curve_there_are_numbers_for() -> None:
    log = [
        {"step": step, "loss": 5.0 / step, "chance": 5.5, "lr": 1e-3, "samples_per_second": 100.0, "data_wait": 0.02}
        for step in (10, 20, 30)
    ]
    log += [{"step": step, "glyphs/image_retrieval_recall@1": step / 100, "glyphs/other": 1} for step in (15, 30)]
    panel = draw_training(log)
    assert [chart.title for chart in panel.charts] == [
        "Loss",
        "Evaluation during training (%)",
        "Learning rate",
        "Samples per second",
        "Time waiting for data (%)",
    ]
    assert [(line.name, line.role) for line in panel.charts[0].lines] == [("chance", "reference"), ("loss", "line-1")]
    assert [line.last_value for line in panel.charts[1].lines] == ["30"]
    assert panel.charts[4].lines[0].last_value == "2"
    assert panel.num_steps == 30


def test_several_objectives_have_a_chart_each() -> None:
    log = [
        {"step": step, "loss": 30.0, "loss/siglip": 29.0, "loss/byol": 1.0, "chance/siglip": 31.0, "chance/byol": None}
        for step in (1, 2, 3)
    ]
    charts = {chart.title: [line.name for line in chart.lines] for chart in draw_training(log).charts}
    assert charts == {"Loss": ["loss"], "Loss of siglip": ["chance", "loss"], "Loss of byol": ["loss"]}


def test_health_is_drawn_for_pictures_and_texts() -> None:
    entries = {"health/text/spread": 0.5, "health/text/effective_rank": 8.0, "health/modality_gap": 0.3}
    log = [{"step": step, "loss": 1.0, **entries} for step in (1, 2)]
    both = [{**record, "health/image/spread": 0.25, "health/image/effective_rank": None} for record in log]
    for records, spread, rank in (
        (log, {"texts": "0.5"}, {"texts": "8"}),
        (both, {"pictures": "0.25", "texts": "0.5"}, {"texts": "8"}),
    ):
        charts = {chart.title: chart for chart in draw_training(records).charts}
        assert list(charts) == ["Loss", "Spread of embeddings (1: even)", "Effective rank of embeddings"]
        drawn = [{line.name: line.last_value for line in chart.lines} for chart in list(charts.values())[1:]]
        assert drawn == [spread, rank]
    assert [line.role for line in charts["Spread of embeddings (1: even)"].lines] == ["line-1", "line-2"]


def test_records_without_a_number_are_left_out() -> None:
    log = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}, {"loss": 3.0}, {"step": 3, "loss": "x"}]
    assert draw_training(log) is None
    assert draw_training([*log, {"step": 4, "loss": 1.0}]).charts[0].lines[0].last_value == "1"


def test_no_log_no_panel() -> None:
    assert draw_training([]) is None
