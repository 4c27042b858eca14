"""The page that draws in the browser: how long the student's call and the teacher's calls take there, by its own clock.

Wall time in headless Chromium, one thread, one image. Weights do not matter: the student is the teacher's network.
"""

import tempfile
import threading
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from benchmarks.repeats import ratio, summary
from benchmarks.shipped import Shipped
from benchmarks.workers import Plan
from dmd.commands.demo_folder import build_folder
from dmd.commands.file_server import FileServer
from dmd.diffusion.generator import Generator
from tools.chromium import find_chromium, open_chromium

TIMES = "return Object.fromEntries([...document.querySelectorAll('figure')].map(f => [f.id, f.milliseconds ?? null]))"
PATIENCE = 300


def drawn(browser: webdriver.Chrome) -> dict[str, float]:
    """Milliseconds by model, once all have drawn the noise that is asked for."""

    def times(_: webdriver.Chrome) -> dict[str, float] | None:
        found = browser.execute_script(TIMES)
        return None if None in found.values() else found

    found = WebDriverWait(browser, PATIENCE).until(times)
    assert isinstance(found, dict)
    return found


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of the student's call and of the teacher's at its default; nothing where there is no Chromium."""
    try:
        find_chromium()
    except ValueError:
        return {"ratios": {}}
    shipped, scratch = Shipped(), Path(tempfile.mkdtemp(prefix="dmd-benchmark-"))
    student = Generator(shipped.teacher.denoiser, shipped.config.distill.generator_timesteps)
    build_folder(shipped.config, shipped.teacher, student, scratch / "demo")
    with FileServer(scratch / "demo", "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser, rounds = open_chromium(), []
        try:
            browser.get(server.address)
            drawn(browser)
            for _ in range(1 + plan.repeats):
                browser.find_element(By.ID, "noise").click()
                rounds.append(drawn(browser))
        finally:
            browser.quit()
            server.shutdown()
    seconds = {name: [found[name] / 1000 for found in rounds[1:]] for name in ("student", "teacher")}
    return {
        "machine": {"clock": "wall", "threads": 1},
        "teacher_calls": shipped.config.evaluate.num_steps,
        "seconds": {f"browser_{name}": summary(values) for name, values in seconds.items()},
        "ratios": {"browser_teacher_default_over_student": ratio(seconds["teacher"], seconds["student"])},
    }
