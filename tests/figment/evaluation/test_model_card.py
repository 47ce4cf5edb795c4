from figment.evaluation.model_card import classifier_card, measured
from figment.evaluation.provenance import Recipe
from figment.evaluation.results import Result, Results
from figment.training.config import TrainingConfig
from figment.training.saved import ClassifierCard


def results(labels) -> Results:
    row = Result(
        name="combined", images=4, top1=0.5, low=0.4, high=0.6, per_class=(0.25, 1, 0), calibration_error=0.123
    )
    return Results(labels=labels.names, test_images=40, rows=(row,), confusion=(), confusion_of="combined")


def test_the_card_tells_data_numbers_and_terms(labels):
    card = ClassifierCard(key="k", labels=labels, training=TrainingConfig(steps=7), images=4)
    recipe = Recipe(
        4, {"car": 3, "frog": 1}, {"base": 4}, {"m @ r": 4}, {"steps": "12"}, 2, {"accepted": 4, "blank": 1}
    )
    terms = {"generator m": "MIT\nof 2024", "CLIP c": "MIT\nof 2024", "chat model l": "unknown"}
    text = classifier_card("a-model", "combined", card, results(labels), recipe, terms)
    assert "top-1 50.0 % [40.0, 60.0] on 40 real pictures of 3 classes" in text
    assert "| car | 25 % |" in text
    assert "any N; of other sizes centre-cropped to a square, then resized bilinearly. Out" in text
    assert "calibration error 12.3 %" in text
    assert "4 generated pictures from 2 different prompts; steps 12" in text
    assert "* verdicts of the whole run: 4 accepted, 1 blank" in text
    assert "* generator m and CLIP c:\n      MIT\n      of 2024\n* chat model l:\n      unknown\n" in text
    assert "real pictures" in classifier_card("a-model", "combined", card, results(labels), None, {}).split("## Use")[0]
    whole = card.model_copy(update={"training": TrainingConfig(steps=7, resize="squash")})
    text = classifier_card("a-model", "combined", whole, results(labels), recipe, terms)
    assert "of other sizes whole, squashed to the square. Out" in text
    assert "crop" not in text
    assert measured(results(labels).rows[0], results(labels)) in text
