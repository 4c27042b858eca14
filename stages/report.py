"""Stage `report`: the numbers, pictures and page that git keeps, and the generator's model card."""

import logging
from pathlib import Path

import pandas as pd

from dmd.card import model_card
from dmd.checkpoint import load_json, load_tensors
from dmd.config import Config
from dmd.report import round_floats, write_report
from stages import cli

logger = logging.getLogger(__name__)


def main(config: Config) -> None:
    """Write metrics/<system>: scores, curves, pictures and report.html; and the card in models/<system>/generator."""
    training, evaluation = Path("data", config.system, "training"), Path("data", config.system, "evaluation")
    folder, generator = Path("metrics", config.system), Path("models", config.system, "generator")
    params = config.model_dump(mode="json")
    scores, facts = load_json(evaluation / "scores.json"), load_json(training / "training.json")
    write_report(
        folder,
        params,
        scores,
        load_tensors(evaluation / "samples.safetensors"),
        pd.read_csv(training / "losses.csv"),
        load_tensors(training / "history.safetensors"),
        facts,
    )
    generator.mkdir(parents=True, exist_ok=True)
    card = model_card(params, round_floats(scores), facts, generator.as_posix())
    (generator / "README.md").write_text(card, encoding="utf-8")
    logger.info("%s and %s are written", folder / "report.html", generator / "README.md")


if __name__ == "__main__":
    cli.run(main)
