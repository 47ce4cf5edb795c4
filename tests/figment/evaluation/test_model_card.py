from figment.evaluation.model_card import measured, model_card
from figment.evaluation.provenance import Recipe
from figment.labels import Label, LabelSpace
from figment.training.config import TrainingConfig
from figment.training.kinds.timm_classifier import timm_preprocessing
from figment.training.saved import Measure, SavedModel

RECIPE = Recipe(4, {"car": 3, "frog": 1}, {"base": 4}, {"m @ r": 4}, {"steps": "12"}, 2, {"accepted": 4, "blank": 1})
TERMS = {"generator m": "MIT\nof 2024", "CLIP c": "MIT\nof 2024", "chat model l": "unknown"}
TOP1 = Measure(name="top-1", value=0.5, low=0.4, high=0.6, images=40)


def saved(labels: LabelSpace, resize: str = "bilinear", images: int = 4) -> SavedModel:
    training = TrainingConfig(steps=7, resize=resize)
    return SavedModel(
        labels=labels,
        preprocessing=timm_preprocessing(training),
        images=images,
        training="A network.",
        metrics=(TOP1, Measure(name="calibration error", value=0.123), Measure(name="top-1 of car", value=0.25)),
    )


def test_the_card_tells_data_numbers_and_terms(labels):
    text = model_card("a-model", saved(labels), RECIPE, TERMS)
    assert "| top-1 | 50.0 % [40.0, 60.0] on 40 real images |" in text
    assert "| top-1 of car | 25.0 % |" in text
    assert "| calibration error | 12.3 % |" in text
    assert (
        "any N; of other sizes centre-cropped to a square, then resized bilinearly. Out: probabilities (N, 3)" in text
    )
    assert "A network." in text
    assert "4 generated images from 2 different prompts; steps 12" in text
    assert "* verdicts of the whole run: 4 accepted, 1 blank" in text
    assert "* generator m and CLIP c:\n      MIT\n      of 2024\n* chat model l:\n      unknown\n" in text
    whole = model_card("a-model", saved(labels, "squash"), RECIPE, TERMS, "scores")
    assert "of other sizes whole, squashed to the square. Out: scores" in whole
    assert "crop" not in whole


def test_the_card_says_what_it_was_trained_on(labels):
    sources = {
        "on generated images alone": (saved(labels), RECIPE),
        "on real and generated images": (saved(labels, images=9), RECIPE),
        "on real images alone": (saved(labels), None),
    }
    for source, (model, recipe) in sources.items():
        assert f"A classifier of 3 classes, trained {source}.\n" in model_card("a-model", model, recipe, {})
    zero_shot = LabelSpace(labels=(Label(name="dog"), Label(name="elk", unseen=True)))
    assert "No real image of elk was trained on." in model_card("a-model", saved(zero_shot, images=0), RECIPE, {})


def test_what_is_measured_is_one_clause(labels):
    model = saved(labels)
    assert measured(model) == "top-1 50.0 % [40.0, 60.0] on 40 real images"
    ranking = tuple(Measure(name=name, value=0.25) for name in ("gzsl/F1@3", "gzsl/mAP", "zsl/mAP"))
    assert measured(model.model_copy(update={"metrics": ranking})) == "gzsl/mAP 25.0 %, zsl/mAP 25.0 %"
