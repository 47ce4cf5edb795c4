"""The pages that ask about a run's images, beside the run, and what becomes of the answers."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from figment.clip.config import ClipConfig
from figment.clip.scorer import ClipScorer
from figment.datasets.real import open_unlabelled
from figment.errors import InputError
from figment.evaluation.asking import (
    SHOWN,
    Answers,
    cluster_doubted,
    cluster_items,
    disagreement,
    page,
    questions,
    read_answers,
    review_items,
    shots_of,
)
from figment.evaluation.features import clip_features
from figment.evaluation.verdict import SUMMARY, Summary
from figment.files import atomic, write_text
from figment.reading import read_artifact
from figment.synthesis.pool import Pool
from figment.training.classifier import predict_all
from figment.training.kinds.timm_classifier import TIMM
from figment.training.saved import load_model
from figment.validation.review import REVIEW, read_review

ASKED, SHOTS, VERDICTS = "asked.parquet", "shots.parquet", "verdicts.parquet"
MOST = 3000  # images of a review page


def ask_about(run: Path, unlabelled: str, clip: ClipConfig, clusters: int) -> Path:
    """RUN/ask.html: ``clusters`` of the unlabelled images about which CLIP and the run's classifier disagree; asked.parquet
    beside it holds them."""
    model = load_model(Path(read_artifact(run / SUMMARY, Summary).model), TIMM)
    space, scorer = model.saved.labels, ClipScorer(clip)
    features = clip_features(open_unlabelled(unlabelled, space, scorer.size), scorer)
    seen = scorer.compare(features, scorer.text_features(space)).cpu()
    images = open_unlabelled(unlabelled, space, *model.preparation)
    student = predict_all(model.network, images)
    groups = cluster_doubted(features.cpu(), disagreement(student.softmax(1), seen.softmax(1)), clusters)
    asked = questions(images.listing, groups, seen, student, space.names)
    with atomic(run / ASKED) as partial:
        pq.write_table(asked, partial)
    lead = (
        f"Images without labels about which CLIP and the model disagree, in {len(groups)} groups of up to {SHOWN} that look "
        f"alike. Name a group, or leave it; save; then: figment ask {run} --answers answers.json."
    )
    write_text(
        run / "ask.html", page(f"What is this? {run.name}", lead, cluster_items(asked), space.names, "answers.json")
    )
    return run / "ask.html"


def take_answers(run: Path, answers: Path) -> tuple[Path, Answers, pa.Table]:
    """RUN/shots.parquet: the images that were named, as ``real.shots`` takes them. Raises InputError for answers to another
    page."""
    if not (run / ASKED).is_file():
        raise InputError(f"{run}: nothing was asked about it yet; figment ask {run} writes the page")
    given = read_answers(answers)
    model = load_model(Path(read_artifact(run / SUMMARY, Summary).model), TIMM)
    shots = shots_of(pq.read_table(run / ASKED), given, model.labels, str(answers))
    if not len(shots):
        raise InputError(f"{answers}: names no image; name some groups on the page and save it again")
    with atomic(run / SHOTS) as partial:
        pq.write_table(shots, partial)
    return run / SHOTS, given, shots


def take_review(run: Path, saved: Path) -> tuple[Path, dict[str, bool]]:
    """RUN/review.csv: what review.html saved, as the run's next start takes it. Raises InputError for any other file."""
    if not (run / VERDICTS).is_file():
        raise InputError(f"{run}: holds no {VERDICTS}; give the folder of a run that judged images")
    decided = read_review(saved)
    write_text(run / REVIEW, saved.read_text(encoding="utf-8-sig"))
    return run / REVIEW, decided


def write_review(run: Path, review: Path | None) -> Path:
    """RUN/review.html: the run's generated images, the doubtful first, with the decisions in the file ``review``."""
    verdicts, decided = pq.read_table(run / VERDICTS), read_review(review) if review else {}
    items = review_items(verdicts, Pool(run / "images"), decided, MOST)
    all_ = f"All {len(verdicts):,}" if len(verdicts) <= MOST else f"{len(items):,} of {len(verdicts):,}"
    lead = (
        f"{all_} generated images, those first of which the judge was least sure. Keep or drop what was judged wrongly and save; "
        f"then: figment ask {run} --answers {REVIEW}, and run the config again."
    )
    write_text(run / "review.html", page(f"Review of {run.name}", lead, items, ("keep", "drop"), REVIEW))
    return run / "review.html"
