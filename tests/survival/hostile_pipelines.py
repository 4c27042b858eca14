"""Text-to-image pipelines with a part that is lost, broken or of another model: `fetch` refuses each, or `teacher`."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dmd.runtime.files import load_json, save_json
from tests.survival.beyond_pixels import TEXT, write_pipeline
from tests.survival.hostile_data import PICTURES, make_pictures
from tests.survival.hostile_inputs import MODEL, RunsCode
from tests.survival.victims import write_params

Harm = Callable[[Path], object]
ENCODER, CODEC = "text_encoder/model.safetensors", f"vae/{MODEL}"


def make_pipeline(root: Path) -> Path:
    """A system that fetches pictures and a pipeline from folders, and nothing from elsewhere; the pipeline's folder."""
    make_pictures(root)
    write_params(root, PICTURES | TEXT | {"dataset.prompts": "prompts.csv"})
    write_pipeline(root)
    return root / "given"


def lose(name: str) -> Harm:
    def harm(folder: Path) -> None:
        path = folder / name
        (shutil.rmtree if path.is_dir() else Path.unlink)(path)

    return harm


def write(name: str, content: str) -> Harm:
    return lambda folder: (folder / name).write_text(content)


def cut(name: str) -> Harm:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def change(name: str, harm: Callable[[dict[str, torch.Tensor], str], object]) -> Harm:
    """Do `harm` to the tensors of a file, and the name of a bias among them."""

    def harmed(folder: Path) -> None:
        tensors = load_file(folder / name)
        harm(tensors, min(key for key in tensors if key.endswith("bias")))
        save_file(tensors, folder / name, {"format": "pt"})

    return harmed


def nan(tensors: dict[str, torch.Tensor], key: str) -> None:
    tensors[key][0] = float("nan")


def longer(tensors: dict[str, torch.Tensor], key: str) -> None:
    tensors[key] = torch.zeros(len(tensors[key]) + 1)


def pickle_alone(name: str, pickle: str) -> Harm:
    def harm(folder: Path) -> None:
        (folder / name).unlink()
        torch.save({"weight": RunsCode()}, (folder / name).with_name(pickle))

    return harm


def settings(name: str, **changes: object) -> Harm:
    return lambda folder: save_json(folder / name, load_json(folder / name) | changes)


def fewer_words(folder: Path) -> None:
    tensors = load_file(folder / ENCODER)
    (name,) = (key for key in tensors if key.endswith("token_embedding.weight"))
    tensors[name] = tensors[name][:50].clone()
    save_file(tensors, folder / ENCODER, {"format": "pt"})
    settings("text_encoder/config.json", vocab_size=50)(folder)


PIPELINES: dict[str, tuple[Harm, str]] = {
    "no tokenizer": (lose("tokenizer"), "tokenizer/vocab.json"),
    "a tokenizer that is no JSON": (write("tokenizer/tokenizer.json", "{"), "teacher/tokenizer"),
    "a tokenizer that is HTML": (write("tokenizer/tokenizer.json", "<html>log in</html>"), "teacher/tokenizer"),
    "a tokenizer of no words": (write("tokenizer/tokenizer.json", "{}"), "teacher/tokenizer"),
    "a tokenizer without a length": (lose("tokenizer/tokenizer_config.json"), "teacher/tokenizer"),
    "a tokenizer of longer texts": (
        settings("tokenizer/tokenizer_config.json", model_max_length=77),
        "teacher/tokenizer",
    ),
    "an encoder of fewer words": (fewer_words, "teacher/tokenizer"),
    "a config of fewer words": (settings("text_encoder/config.json", vocab_size=50), "teacher/text_encoder"),
    "no text encoder": (lose("text_encoder"), "text_encoder/config.json"),
    "a text encoder's config that is no JSON": (write("text_encoder/config.json", "{"), "text_encoder/config.json"),
    "another text encoder": (
        settings("text_encoder/config.json", architectures=["T5EncoderModel"]),
        "text_encoder/config.json",
    ),
    "a text encoder of another width": (settings("text_encoder/config.json", hidden_size=32), "cross_attention_dim"),
    "a text encoder cut short": (cut(ENCODER), ENCODER),
    "a pickle for a text encoder": (pickle_alone(ENCODER, "pytorch_model.bin"), "text_encoder/pytorch_model.bin"),
    "NaN in a text encoder": (change(ENCODER, nan), "teacher/" + ENCODER),
    "a text encoder's tensor of another shape": (change(ENCODER, longer), "teacher/text_encoder"),
    "a text encoder's tensor too few": (change(ENCODER, lambda tensors, key: tensors.pop(key)), "teacher/text_encoder"),
    "no codec": (lose("vae"), "vae/config.json"),
    "a codec's config that is no JSON": (write("vae/config.json", "{"), "vae/config.json"),
    "a codec of other latents": (
        settings("vae/config.json", latent_channels=8),
        "latents are [8, 16, 16]",
    ),
    "a codec cut short": (cut(CODEC), CODEC),
    "a pickle for a codec": (
        pickle_alone(CODEC, "diffusion_pytorch_model.bin"),
        "vae/diffusion_pytorch_model.bin",
    ),
    "NaN in a codec": (change(CODEC, nan), f"teacher/codec/{MODEL}"),
    "a codec's tensor of another shape": (change(CODEC, longer), "teacher/codec"),
    "NaN in a network of text": (change(f"unet/{MODEL}", nan), f"teacher/{MODEL}"),
}
