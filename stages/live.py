"""A run under way, shown by DVCLive in a folder that neither git nor DVC tracks."""

import logging
from collections.abc import Callable
from pathlib import Path

from dvclive.live import Live
from scmrepo.exceptions import SCMError

from dmd.distill.health import Row

logger = logging.getLogger(__name__)


def open_log(folder: Path) -> Callable[[Row], None]:
    """Empty `folder`; returns what adds a row, a `step` with its measures, to the files there.

    `folder/metrics.json` holds the newest row, `folder/plots/metrics/<measure>.tsv` all of them. It makes no DVC
    experiment and no dvc.yaml: `dvc exp run` makes the one, and dvc.yaml of the project names the files. DVCLive asks
    Git for the last commit: where there is none yet, the run goes on without the live files, and says so.
    """
    logging.getLogger("dvclive").setLevel(logging.WARNING)
    try:
        log = Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None)
    except SCMError as error:
        logger.warning("%s is not written (%s); commit once to have it", folder, error)
        return lambda row: None

    def add(row: Row) -> None:
        log.step = int(row["step"])
        for name, value in row.items():
            if name != "step":
                log.log_metric(name, value)
        log.make_summary()

    return add
