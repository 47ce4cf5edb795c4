"""CLIP and SigLIP as transformers saves them give the library's own features, logits and probabilities."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as t
from PIL import Image

from figment.clip.config import ClipConfig
from figment.clip.scorer import ClipScorer, clip_digest
from figment.errors import InputError
from figment.images import to_tensor
from figment.labels import LabelSpace
from tests.conformance.models import tokenizer

SIZE = 32
SPACE = LabelSpace.of(("car", "frog", "banana"))
TEXTS = ["a photo of a car", "a frog", "a sketch of a green frog beside a red car"]


def save(kind: str, folder: Path) -> Path:
    """A tiny model of the kind with random weights, its tokenizer and processor."""
    torch.manual_seed(0)
    words = tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**sizes, "vocab_size": len(words), "max_position_embeddings": words.model_max_length}
    text |= {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    vision = {**sizes, "image_size": SIZE, "patch_size": 8}
    if kind == "clip":
        model = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        settings = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}}
        processor = t.CLIPImageProcessor(**settings, resample=3)
    else:
        model = t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=vision))
        model.logit_bias.data.fill_(-1.0)
        model.logit_scale.data.fill_(1.5)
        processor = t.SiglipImageProcessor(size={"height": SIZE, "width": SIZE}, resample=2)
    for part in (model, words, processor):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request, tmp_path_factory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def scorer(folder) -> ClipScorer:
    return ClipScorer(ClipConfig(model=f"local-dir:{folder}", device="cpu"))


def photo(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8))


def library(folder: Path, images: list[Image.Image]):
    """The library's own answer on images and TEXTS."""
    model, words = t.AutoModel.from_pretrained(folder, dtype=torch.float32), t.AutoTokenizer.from_pretrained(folder)
    pixels = t.AutoImageProcessor.from_pretrained(folder)(images, return_tensors="pt")["pixel_values"]
    tokens = words(TEXTS, padding="max_length", truncation=True, max_length=words.model_max_length, return_tensors="pt")
    with torch.inference_mode():
        return model(input_ids=tokens["input_ids"], pixel_values=pixels)


@pytest.mark.parametrize(
    ("shape", "least"), [((SIZE, SIZE), 0.999999), ((96, 96), 0.9995), ((96, 64), 0.9995), ((50, 90), 0.999)]
)
def test_features_are_those_of_the_librarys_processor_and_model(folder, scorer, shape, least):
    image = photo(*shape)
    own = scorer.image_features(to_tensor(image, scorer.size, scorer.resize)[None])
    found = library(folder, [image])
    expected = torch.nn.functional.normalize(found.image_embeds, dim=-1)
    assert float((own * expected).sum()) >= least


def test_logits_and_probabilities_are_the_librarys(folder, scorer):
    image = photo(SIZE, SIZE)
    found = library(folder, [image])
    text = scorer.prompt_features(TEXTS)
    logits = scorer.logits(to_tensor(image, SIZE)[None], text)
    bias = 0.0 if scorer.bias is None else float(scorer.bias)
    assert torch.allclose(logits + bias, found.logits_per_image, atol=2e-4)
    features = scorer.image_features(to_tensor(image, SIZE)[None])
    own = scorer.compare(features, text)
    assert torch.allclose(own.softmax(1), found.logits_per_image.softmax(1), atol=1e-5)
    if scorer.bias is None:
        with pytest.raises(InputError, match=r"acceptance\.scores: sigmoid is for a SigLIP"):
            scorer.presence(own)
    else:
        assert torch.allclose(scorer.presence(own), found.logits_per_image.sigmoid(), atol=1e-5)


def test_texts_do_not_depend_on_their_batch(scorer):
    together = scorer.prompt_features(TEXTS)
    assert torch.allclose(together, torch.cat([scorer.prompt_features([text]) for text in TEXTS]), atol=1e-6)
    assert scorer.text_features(SPACE).shape == (3, together.shape[1])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_gives_unit_vectors_in_float32_under_a_key_of_its_own(folder, scorer, precision):
    config = scorer.config.model_copy(update={"precision": precision})
    half, pixels = ClipScorer(config), to_tensor(photo(SIZE, SIZE), SIZE)[None]
    features = half.image_features(pixels)
    assert features.dtype == torch.float32
    assert torch.allclose(features.norm(dim=1), torch.ones(1))
    assert float((features * scorer.image_features(pixels)).sum()) > 0.99
    assert half.compare(features, half.prompt_features(TEXTS)).dtype == torch.float32
    assert clip_digest(config) != clip_digest(scorer.config)


def test_the_embedded_model_is_cropped_and_bicubic():
    assert ClipScorer(ClipConfig(model="local-dir:models/pocket/clip", device="cpu")).resize == "bicubic"
