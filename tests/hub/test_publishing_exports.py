"""A published export predicts from the Hub as from its folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import HfApi
from run_folders import make_run_folder
from server import HubServer

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from tl_toolkit.hub.arguments import parse_publish_arguments  # noqa: E402
from tl_toolkit.hub.publishing import publish  # noqa: E402
from tl_toolkit.workflows.export import export, parse_export_arguments  # noqa: E402
from tl_toolkit.workflows.predict import parse_predict_arguments, predict  # noqa: E402


def test_an_export_predicts_from_the_hub(hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_run_folder(tmp_path / "run")
    export(parse_export_arguments({"model_name_or_path": str(folder), "output_dir": str(tmp_path / "onnx")}))
    assert "not compared on the test rows of the model's record" in caplog.text  # its dataset is elsewhere
    request = parse_publish_arguments([str(tmp_path / "onnx"), "--repo_id", "user/onnx"])
    publish(request, HfApi(endpoint=hub.endpoint, token=hub.token), print)
    assert {"model.onnx", "export.json", "run.py"} <= set(hub.files("user/onnx"))
    pd.DataFrame({"text": ["iron and tin", "apple"]}).to_csv(tmp_path / "new.csv", index=False)
    own, other = (
        predict(
            parse_predict_arguments(
                {
                    "model_name_or_path": name,
                    "dataset_name": str(tmp_path / "new.csv"),
                    "output_dir": str(tmp_path / "found"),
                    "use_cpu": True,
                    "disable_tqdm": True,
                }
            )
        ).predictions
        for name in (str(folder), "user/onnx")
    )
    for first, second in zip(own["scores"], other["scores"], strict=True):
        assert first == pytest.approx(second, abs=1e-5)
