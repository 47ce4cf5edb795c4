"""Few-shot classification by "DIAGen" (Lingenberg et al. 2024), with DA-Fusion, Real Guidance and plain photos beside it.

A few photos of each class in; words learned for the classes, contexts from a language model, a plan of images made from each
photo, a calibrated head that weighs them, one linear classifier a method on a frozen backbone's cached features (which
learns on with it if ``training.finetune`` says so), its accuracy on every test set, a report and a registered model out.
Each method is a few fields: figment.planning.few_shot.

    zenml pipeline run pipelines.few_shot.few_shot -c configs/pocket/few_shot.yaml
"""

from figment.ops.pipelines import figment_pipeline
from figment.recipes.config import FewShot
from steps.adaptation import adapt_generator
from steps.data import prepare_data
from steps.evaluation import evaluate_classifiers
from steps.labels import choose_labels
from steps.lineage import record_lineage, version_dataset
from steps.plan import plan_images
from steps.prompts import write_prompts
from steps.registration import register_model
from steps.report import write_report
from steps.synthesis import synthesise_images
from steps.training import train_apart, train_classifiers
from steps.validation import check_images, validate_images


@figment_pipeline
def few_shot(recipe: FewShot) -> None:
    recipe.check()
    labels, wanted = choose_labels(recipe)
    data = prepare_data(recipe, labels, wanted)
    prompts = adapted = planned = images = verdicts = checked = None
    if recipe.planning:  # else all methods learn from the photos alone
        prompts = write_prompts(recipe, labels, after=[data]) if recipe.planning.prompts else None
        adapted = adapt_generator(recipe, labels, wanted, data, prompts) if recipe.adaptations else None
        plan = plan_images(recipe, labels, data, prompts, adapted)
        planned, images = synthesise_images(recipe, labels, plan, prompts, adapted)
        verdicts = validate_images(recipe, labels, planned, images, data)
        checked = check_images(recipe, labels, data, planned, images, verdicts)
    given = (recipe, labels, data, planned, images, verdicts)
    classifiers = train_classifiers(*given, after=train_apart(*given, after=checked or data))
    results, model = evaluate_classifiers(recipe, labels, classifiers, data, planned, images)
    made = [labels, data, prompts, adapted, planned, images, verdicts, checked, classifiers, results]
    report = write_report(recipe, [item for item in made if item is not None])
    version = register_model(recipe, model, data)
    dataset = version_dataset(recipe, after=[report, version])
    record_lineage(recipe, dataset)
