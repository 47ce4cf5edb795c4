"""Zero-shot classification by the bag of tricks (Shipard et al. 2023, "Diversity is Definitely Needed").

Class names in; prompts, a plan, images, CLIP's verdicts, one classifier a trick and one a union of tricks (by default all
combined; the paper's best; the same at fixed size), their top-1 on real images, a report and a registered model out. With
``parts`` above 1 as many steps render side by side, where the orchestrator can, and with ``fan_out`` as many train as there
are classifiers.

    zenml pipeline run pipelines.bag_of_tricks.bag_of_tricks -c configs/pocket/bag_of_tricks.yaml
"""

from figment.ops.pipelines import figment_pipeline
from figment.recipes.config import BagOfTricks
from steps.data import prepare_data
from steps.evaluation import evaluate_classifiers
from steps.labels import choose_labels
from steps.lineage import record_lineage, version_dataset
from steps.plan import plan_images
from steps.prompts import write_prompts
from steps.registration import register_model
from steps.report import write_report
from steps.rounds import run_rounds
from steps.synthesis import render_part, synthesise_images
from steps.training import train_apart, train_classifiers
from steps.validation import check_images, validate_images


@figment_pipeline
def bag_of_tricks(recipe: BagOfTricks) -> None:
    recipe.check()
    labels, wanted = choose_labels(recipe)
    data = prepare_data(recipe, labels, wanted)
    prompts = write_prompts(recipe, labels, after=[data]) if recipe.tricks else None
    plan = plan_images(recipe, labels, data, prompts)
    rendered = [render_part(recipe, plan, part) for part in range(recipe.parts)] if recipe.parts > 1 else []
    planned, images = synthesise_images(recipe, labels, plan, prompts, after=rendered)
    verdicts = validate_images(recipe, labels, planned, images)
    checked = check_images(recipe, labels, data, planned, images, verdicts)
    given = (recipe, labels, data, planned, images, verdicts)
    classifiers = train_classifiers(*given, after=train_apart(*given, after=checked))
    grown = []
    if recipe.rounds:
        first = (planned, images, verdicts, classifiers, prompts)
        planned, images, verdicts, classifiers, found = run_rounds(recipe, labels, data, *first)
        grown = [found]
    results, model = evaluate_classifiers(recipe, labels, classifiers, data, planned, images)
    report = write_report(recipe, [labels, data, planned, images, verdicts, checked, classifiers, results, *grown])
    version = register_model(recipe, model, data)
    dataset = version_dataset(recipe, after=[report, version])
    record_lineage(recipe, dataset)
