"""Stage `report`: the numbers, pictures and page that git keeps, and the generator's model card."""

import logging
from pathlib import Path

from dmd.params.config import Config
from dmd.report.metrics_folder import round_floats, write_report
from dmd.report.model_card import model_card
from dmd.report.results import Run
from dmd.runtime.files import whole_file
from dmd.runtime.places import Places
from stages.command import cli

logger = logging.getLogger(__name__)


def main(config: Config) -> None:
    """Write metrics/<system>: scores, tables, pictures and report.html; and the card in models/<system>/card."""
    places, tables = Places(config.system), Path("docs", "results", "data", "tables", config.system)
    run = Run.load(config.model_dump(mode="json"), places.evaluation, places.training, tables)
    write_report(places.metrics, run)
    places.card.parent.mkdir(parents=True, exist_ok=True)
    card = model_card(run.params, round_floats(run.scores), run.training, places.generator.as_posix())
    with whole_file(places.card) as out:
        out.write_text(card, encoding="utf-8")
    logger.info("%s and %s are written", places.metrics / "report.html", places.card)


if __name__ == "__main__":
    cli.run(main)
