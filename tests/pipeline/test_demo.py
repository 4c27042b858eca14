"""The page that draws in the browser, clicked in headless Chromium: its images, its links, its looks."""

import itertools
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from torch import Tensor

from dmd.commands.demo_folder import build_folder
from dmd.commands.file_server import FileServer
from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.guidance import with_guidance
from dmd.diffusion.sampler import sample
from dmd.fetch.downloads import DownloadError
from dmd.models.teacher import Teacher
from dmd.params.config import load_config
from dmd.teacher.network import build_unet
from tools.chromium import resize

ROOT = Path(__file__).resolve().parents[2]
SHAPE, CLASSES, SEED, LABEL = (1, 8, 8), 5, 7, 3
SCHEDULER = {"num_train_timesteps": 50, "beta_start": 1e-3, "beta_end": 0.1, "beta_schedule": "linear"}
SCHEDULER |= {"prediction_type": "epsilon", "clip_sample": True}
IMAGES = "return Object.fromEntries([...document.querySelectorAll('figure')].map(f => [f.id, f.image && [...f.image]]))"
FORGET = "document.querySelectorAll('figure').forEach(figure => { figure.image = null; })"
MODELS = {"student", "teacher", "before"}


@dataclass(frozen=True)
class Site:
    """A page that is served, and what it shows, in PyTorch."""

    address: str
    folder: Path
    models: dict[str, Callable[..., torch.Tensor]]
    """Noise, labels and the teacher's calls → images."""


def ddim(denoiser: BaseDenoiser, z: Tensor, labels: Tensor, calls: int, spacing: str) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12, sigma 0), each step to the timestep that follows; as diffusers' where it can be.

    diffusers steps by T // calls, which is not what follows where calls do not divide T.
    """
    scheduler = DDIMScheduler.from_config(SCHEDULER, timestep_spacing=spacing)
    scheduler.set_timesteps(calls)
    alphas_bar, x = scheduler.alphas_cumprod, z
    for t, after in itertools.pairwise([*scheduler.timesteps, None]):
        x0 = denoiser(x, t.expand(len(z)), labels)
        here, there = alphas_bar[t], alphas_bar[after] if after is not None else torch.tensor(1.0)
        eps = (x - here.sqrt() * x0) / (1 - here).sqrt()
        x = there.sqrt() * x0.clamp(-1, 1) + (1 - there).sqrt() * eps
    if SCHEDULER["num_train_timesteps"] % calls == 0:
        torch.testing.assert_close(x, sample(denoiser, z, labels, SCHEDULER, "ddim", calls, spacing), atol=1e-4, rtol=0)
    return x


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: webdriver.Chrome) -> Iterator[Site]:
    config = load_config(ROOT / "params.yaml")
    config = config.model_copy(update={"dataset": config.dataset.model_copy(update={"num_classes": CLASSES})})
    torch.manual_seed(0)
    networks = [build_unet(SHAPE, CLASSES + 1, (4, 8), 1, (4,), 2).eval() for _ in range(2)]
    teacher, student = (Teacher(network, SCHEDULER) for network in networks)
    generator, before = (Generator(one.denoiser, [25]).eval() for one in (student, teacher))
    folder = tmp_path_factory.mktemp("site") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DMD_DOWNLOADS", os.environ.get("DMD_DOWNLOADS", str(ROOT / "downloads")))
        try:
            build_folder(config, teacher, generator, folder)
        except DownloadError as error:
            if os.environ.get("DMD_REQUIRE_BROWSER"):
                raise
            pytest.skip(f"no onnxruntime-web: {error}")
    guided = with_guidance(teacher.denoiser, config.guidance_scale, CLASSES)
    spacing = config.evaluate.timestep_spacing
    models = {
        "student": lambda z, labels, _: generator(z, labels),
        "before": lambda z, labels, _: before(z, labels),
        "teacher": lambda z, labels, calls: ddim(guided, z, labels, calls, spacing),
    }
    with FileServer(folder, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Site(server.address, folder, models)
        server.shutdown()


@pytest.fixture(scope="module")
def page(browser: webdriver.Chrome, site: Site) -> webdriver.Chrome:
    """The page of a link, once all of it is drawn."""
    browser.get_log("browser"), browser.get_log("performance")
    resize(browser, 1280, 900, "light")
    browser.get(f"{site.address}#seed={SEED}&label={LABEL}")
    drawn(browser)
    return browser


def drawn(browser: webdriver.Chrome, models: Sequence[str] = ("student", "teacher", "before")) -> dict[str, np.ndarray]:
    """The images that are shown, once these models have drawn since `FORGET`."""
    WebDriverWait(browser, 120).until(lambda _: all(browser.execute_script(IMAGES)[model] for model in models))
    return {model: np.array(values) for model, values in browser.execute_script(IMAGES).items() if values}


def after(browser: webdriver.Chrome, act: Callable[[], Any], *models: str) -> dict[str, np.ndarray]:
    """What `models` have drawn after an act of the user; all of them if none is named."""
    browser.execute_script(FORGET)
    act()
    return drawn(browser, models or sorted(MODELS))


def link(browser: webdriver.Chrome) -> dict[str, int]:
    words = [word.split("=") for word in browser.current_url.partition("#")[2].split("&")]
    return {name: int(value) for name, value in words}


def expected(browser: webdriver.Chrome, site: Site, model: str, calls: int = 8) -> np.ndarray:
    """PyTorch's image of the noise and label that the link names."""
    named = link(browser)
    draw = "import('./noise.js').then(m => arguments[2]([...m.drawNoise(arguments[0], 0, arguments[1])]))"
    z = torch.tensor(browser.execute_async_script(draw, named["seed"], math.prod(SHAPE))).reshape(1, *SHAPE)
    with torch.no_grad():
        return site.models[model](z, torch.tensor([named["label"]]), calls).flatten().numpy()


def test_a_link_shows_pytorchs_images(page: webdriver.Chrome, site: Site) -> None:
    images = after(page, lambda: page.execute_script(f"location.hash = 'seed={SEED + 1}&label={LABEL - 1}'"))
    assert link(page) == {"seed": SEED + 1, "label": LABEL - 1}
    for model in MODELS:
        wanted = expected(page, site, model)
        assert wanted.std() > 0.05
        np.testing.assert_allclose(images[model], wanted, atol=1e-4, err_msg=model)


@pytest.mark.parametrize("calls", [1, 7, 50])
def test_the_slider_is_the_number_of_ddims_calls(page: webdriver.Chrome, site: Site, calls: int) -> None:
    move = "const s = document.getElementById('calls'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))"
    image = after(page, lambda: page.execute_script(move, calls), "teacher")["teacher"]
    assert link(page)["calls"] == calls
    np.testing.assert_allclose(image, expected(page, site, "teacher", calls), atol=1e-4)
    words = page.find_element(By.ID, "teacher").text
    assert f"{calls} call" in words
    assert "ms" in words


def test_clicks_and_keys_choose_class_and_noise(page: webdriver.Chrome, site: Site) -> None:
    buttons = page.find_elements(By.CSS_SELECTOR, "#classes button")
    assert [button.text for button in buttons] == [str(label) for label in range(CLASSES)]
    body = page.find_element(By.TAG_NAME, "body")
    acts: list[Callable[[], None]] = [
        *(lambda: buttons[4].click(), lambda: page.find_element(By.ID, "noise").click()),
        *(lambda: body.send_keys("1"), lambda: body.send_keys("n"), lambda: buttons[0].send_keys(Keys.SPACE)),
    ]
    labels, seeds = [], []
    for act in acts:
        images = after(page, act)
        np.testing.assert_allclose(images["student"], expected(page, site, "student"), atol=1e-4)
        labels.append(link(page)["label"])
        seeds.append(link(page)["seed"])
        pressed = [button.get_attribute("aria-pressed") == "true" for button in buttons]
        assert pressed == [label == labels[-1] for label in range(CLASSES)]
    assert labels == [4, 4, 1, 1, 0]
    assert len(set(seeds)) == 3


def test_the_walk_moves_and_ends_at_a_noise_that_has_a_link(page: webdriver.Chrome, site: Site) -> None:
    walk = page.find_element(By.ID, "walk")
    walk.click()
    seen = [after(page, lambda: None) for _ in range(3)]
    moved = [np.abs(one["student"] - other["student"]).max() for one, other in itertools.pairwise(seen)]
    assert min(moved) > 1e-3
    assert "a second" in page.find_element(By.ID, "student").text
    images = after(page, walk.click)
    np.testing.assert_allclose(images["student"], expected(page, site, "student"), atol=1e-4)
    assert walk.get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_every_width_in_light_and_dark(page: webdriver.Chrome, width: int, scheme: str) -> None:
    resize(page, width, 900, scheme)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    heights = "return [...document.querySelectorAll('button, input')].map(e => e.getBoundingClientRect().height)"
    assert min(page.execute_script(heights)) >= 32
    colours = "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
    ink, paper = (sum(map(int, value[4:-1].split(","))) / 3 for value in page.execute_script(colours))
    assert abs(ink - paper) > 150
    assert (paper > ink) == (scheme == "light")


def test_nothing_is_asked_of_elsewhere_and_nothing_complains(page: webdriver.Chrome, site: Site) -> None:
    sent = [entry["message"] for entry in page.get_log("performance") if 'requestWillBeSent"' in entry["message"]]
    asked = [message for message in sent if '"url":"http' in message]
    assert asked
    assert all(f'"url":"{site.address}' in message for message in asked)
    assert page.get_log("browser") == []


def test_a_folder_that_is_not_whole_is_told(browser: webdriver.Chrome, site: Site, tmp_path: Path) -> None:
    shutil.copytree(site.folder, tmp_path / "demo")
    (tmp_path / "demo" / "teacher.onnx").unlink()
    with FileServer(tmp_path / "demo", "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.get(server.address)
        trouble = browser.find_element(By.ID, "trouble")
        WebDriverWait(browser, 120).until(lambda _: trouble.is_displayed())
        assert "teacher.onnx: 404" in trouble.text
        server.shutdown()
