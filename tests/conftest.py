"""Shared fixtures: the pocket models, a small rendered pool, and real data that is skipped, with a reason, where absent."""

import os
import shutil
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from figment.ops.environment import ROOT, load_environment

# The tests' own runs, models and stack, of each worker: what the user has in .figment/ and .zen/ stays as it is.
STATE = Path(".figment/tests", os.environ.get("PYTEST_XDIST_WORKER", ""))
os.environ["ZENML_CONFIG_PATH"] = f"{STATE}/zenml"
os.environ["ZENML_REPOSITORY_PATH"] = f"{STATE}"
os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{STATE}/mlflow.db"
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that needs the hub is a bug
os.environ["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"] = "1"  # second; by default ten, in which a test's step is over
load_environment()
STATE.mkdir(parents=True, exist_ok=True)

from figment.clip.label_vectors import LabelVectors, read_npz_vectors  # noqa: E402
from figment.labels import LabelSpace  # noqa: E402
from figment.ops import source  # noqa: E402
from figment.ops.stack import fetch_data  # noqa: E402
from figment.planning.generator_config import GeneratorConfig  # noqa: E402
from figment.planning.plan import make_plan  # noqa: E402
from figment.prompts.tricks import build_tricks, write_prompts  # noqa: E402
from figment.synthesis.config import SynthesisConfig  # noqa: E402
from figment.synthesis.executor import synthesise  # noqa: E402
from figment.synthesis.generator import Generator  # noqa: E402
from figment.synthesis.pool import Pool  # noqa: E402
from figment.synthesis.weights import model_revision  # noqa: E402
from tests.plans import plan_bag_of_tricks  # noqa: E402

fetch_data()
hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("patient")
CLASSES = ("car", "frog", "banana")


@pytest.fixture(autouse=True)
def _own_tracking_uri():
    """ZenML makes MLflow forget it after a run, the variable too."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{STATE}/mlflow.db"


@pytest.fixture(scope="session")
def pocket_config() -> GeneratorConfig:
    return GeneratorConfig(
        model="models/pocket/diffusion",
        width=32,
        height=32,
        guidance_scale=4.0,
        num_inference_steps=4,
    )


@pytest.fixture(scope="session")
def synthesis() -> SynthesisConfig:
    return SynthesisConfig(batch_size=8, image_format="png", shard_size=7)


@pytest.fixture(scope="session")
def generator(pocket_config: GeneratorConfig, synthesis: SynthesisConfig) -> Generator:
    return Generator(pocket_config.model, model_revision(pocket_config), synthesis)


@pytest.fixture(scope="session")
def labels() -> LabelSpace:
    return LabelSpace.load(ROOT / "configs/labels/pocket.yaml").choose(CLASSES)


@pytest.fixture(scope="session")
def plan(labels: LabelSpace, pocket_config: GeneratorConfig):
    """18 images: three classes, two tricks, three each."""
    tricks = build_tricks(["base_class", "random_guidance"], ["photo"], pocket_config.guidance_scale)
    book = write_prompts(labels, tricks)
    return make_plan(plan_bag_of_tricks(book, tricks, pocket_config, model_revision(pocket_config), 3, 0))


@pytest.fixture(scope="session")
def pool(plan, synthesis: SynthesisConfig, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    pool = Pool(tmp_path_factory.mktemp("pool"))
    synthesise(plan, pool, synthesis)
    return pool


class Code:
    """A copy of all code in ``root``, by which results are known instead of that which runs."""

    def __init__(self, root: Path):
        self.root = root
        for package in source.PACKAGES:
            shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("pocket", "__pycache__"))

    def edit(self, file: str, before: str, after: str) -> None:
        """Replace a text that the file holds once. What is asked next sees it, as a new process would."""
        text = (self.root / file).read_text()
        assert text.count(before) == 1
        (self.root / file).write_text(text.replace(before, after))
        self.read_again()

    def append(self, file: str, line: str) -> None:
        with open(self.root / file, "a") as opened:
            opened.write(f"{line}\n")
        self.read_again()

    def read_again(self) -> None:
        for function in (source.texts, source._stage_code):
            function.cache_clear()


@pytest.fixture
def code(tmp_path_factory, monkeypatch):
    copy = Code(tmp_path_factory.mktemp("code"))
    monkeypatch.setattr(source, "ROOT", copy.root)
    copy.read_again()
    yield copy
    monkeypatch.undo()
    copy.read_again()


def development_data(name: str) -> Path:
    """A file or folder of data for development, which lies beside the clone and is never part of the project. Where it is not
    there, the test is skipped."""
    path = ROOT.parent / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"no {path.relative_to(ROOT.parent)} beside the clone")
    return path


@pytest.fixture(scope="session")
def cifar10_folder() -> Path:
    """Real photographs."""
    return development_data("cifar10")


@pytest.fixture(scope="session")
def custom_coco_folder() -> Path:
    """The phone photographs of Custom COCO for development, beside the clone; never part of the project."""
    return development_data("custom_coco")


@pytest.fixture(scope="session")
def word_vectors_folder() -> Path:
    """Those of "Semantic Diversity Learning"."""
    return development_data("word_vectors")


@pytest.fixture(scope="session")
def llm_responses_folder() -> Path:
    """What real chat models answered."""
    return development_data("llm_responses")


@pytest.fixture(scope="session")
def nus_wide(word_vectors_folder: Path) -> LabelVectors:
    """NUS-WIDE's 1006 tags."""
    return read_npz_vectors(word_vectors_folder / "nus_wide.npz")


@pytest.fixture(scope="session")
def nus_wide_unseen(word_vectors_folder: Path, nus_wide: LabelVectors) -> tuple[str, ...]:
    """Its 81 tags that no training image shows."""
    with np.load(word_vectors_folder / "nus_wide.npz") as archive:
        return tuple(nus_wide.names[i] for i in archive["unseen"])


@pytest.fixture(scope="session")
def xl(tmp_path_factory) -> Path:
    """A folder with a tiny SDXL of random weights: two text encoders, pooled embeddings."""
    from tests.figment.synthesis.test_families import stable_diffusion_xl

    folder = tmp_path_factory.mktemp("xl")
    stable_diffusion_xl().save_pretrained(folder)
    return folder
