"""Tests that whole programs for Keras run with nnfast after their imports have been changed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import whole_programs

from nnfast import keras

CHECKS: dict[str, Any] = {
    "auto_mpg_regression": lambda v: Path("loss.png").stat().st_size > 1000,
    "callback_zoo": lambda v: (
        len(Path("loss_log.json").read_text().splitlines()) == len(v["plateau"].epoch)
        and len(v["batch_losses"].losses) == 15 * len(v["plateau"].epoch)
        and v["final_rate"] == pytest.approx(0.5**4)
        and v["plateau"].history["learning_rate"][-1] < 0.5
    ),
    "cats_and_dogs_dataset": lambda v: (
        v["class_names"] == ["cats", "dogs"] and v["score"].argmax() == 1
    ),
    "cats_and_dogs_generator": lambda v: (
        v["classes"] == ["cats", "dogs"]
        and Path("accuracy.png").exists()
        and Path("cats_and_dogs.weights.h5").exists()
    ),
    "class_weights": lambda v: (
        v["initial_loss"] < 0.5
        and v["cm"].sum() == sum(v["all_results"][key] for key in ("tp", "fp", "tn", "fn"))
        and Path("initial.weights.h5").exists()
    ),
    "custom_schedule": lambda v: v["rates"] == pytest.approx([0.02 / 40, 0.02, 0.01]),
    "denoising_autoencoder": lambda v: v["encoded_imgs"].shape == (200, 32),
    "fashion_mnist": lambda v: v["prediction"] == v["test_labels"][1],
    "grid_search": lambda v: set(v["grid_result"].best_params_) == {"optimizer", "units"},
    "imdb_multi_hot": lambda v: (
        Path("loss.png").exists() and set(v["decoded_review"].split()) > {"?"}
    ),
    "imdb_texts": lambda v: (
        v["exported_accuracy"] == v["accuracy"]
        and v["predictions"].round().tolist() == [[1], [0]]
        and v["vocabulary"][:2] == ["", "[UNK]"]
    ),
    "imdb_transformer": lambda v: (
        np.mean(v["probabilities"].argmax(axis=1) == v["y_val"]) == pytest.approx(v["accuracy"])
    ),
    "losses_and_metrics": lambda v: (
        v["evaluated"] == pytest.approx([v["loss"], v["accuracy"]], rel=1e-5)
        and v["cleared"] == 0.0
    ),
    "overfit_underfit": lambda v: (
        len(v["logged"]) == len(v["size_histories"]["l2"].epoch) and v["rates"][-1] < 0.005
    ),
    "plot_and_summary": lambda v: (
        "probabilities" in "\n".join(v["lines"]) and Path("model.png").stat().st_size > 1000
    ),
    "reuters_topics": lambda v: v["one_hot_results"][1] > 0.9,
    "save_and_load": lambda v: (
        v["before"] < 0.5 < 0.9 < v["restored"]
        and v["same"]
        and Path("training/best-01.weights.h5").exists()
    ),
    "seeds_and_sessions": lambda v: v["identical"] and v["gpus"] == [],
    "sequence_of_batches": lambda v: v["train"].epochs == 5,
    "sequences_of_any_length": lambda v: v["hits"] == pytest.approx(v["accuracy"]),
    "sklearn_wrappers": lambda v: list(v["estimator"].classes_) == [0, 1, 2],
    "tensorboard_logs": lambda v: v["runs"] == ["train", "validation"],
    "tf_data_pipeline": lambda v: np.mean(v["predictions"] == v["y_test"]) == v["accuracy"],
    "timeseries_windows": lambda v: v["samples"].shape == (32, 12, 3),
    "tokenizer_texts": lambda v: v["history"].history["acc"][-1] > 0.95,
    "train_on_batch_loop": lambda v: len(v["history"]) == 5 and v["first"].shape == (4, 10),
    "weights_surgery": lambda v: (
        np.array_equal(v["doubled"], v["kernel"] * 2)
        and np.array_equal(v["frozen"], v["doubled"])
        and v["rate"] == pytest.approx(0.001)
        and v["steps"] == 7 * 33
    ),
}


@pytest.mark.parametrize("name", whole_programs.PROGRAMS)
def test_programs_for_keras_reach_their_score(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    variables = whole_programs.run(name, keras)
    score = whole_programs.score(name, variables)
    assert whole_programs.PROGRAMS[name].at_least <= score <= 1 + 1e-6
    assert math.isfinite(score)
    assert CHECKS.get(name, lambda variables: True)(variables)


def test_every_program_is_run() -> None:
    assert {path.stem for path in whole_programs.FOLDER.glob("*.py")} == set(
        whole_programs.PROGRAMS
    )
