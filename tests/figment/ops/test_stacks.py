"""Stack files: all of configs/stacks/ are valid, a typo is one sentence, applying twice changes nothing."""

import importlib
import os
import pkgutil
import re
import shlex
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import mlflow
import pytest
import yaml
from zenml.client import Client
from zenml.image_builders import BuildContext
from zenml.models import PipelineBuildRequest, PipelineSnapshotRequest
from zenml.steps import BaseStep

import steps
from figment.cli import main
from figment.errors import InputError
from figment.ops.roles import ROLES, roles
from figment.ops.stack import prepare
from figment.ops.stacks_apply import apply_stack, missing_packages
from figment.ops.stacks_file import flavors, read_stack, settings_class
from figment.ops.stacks_steps import merge
from pipelines.bag_of_tricks import bag_of_tricks
from pipelines.predict import predict

FOLDER = Path("configs/stacks")
FILES = sorted(FOLDER.glob("*.yaml"))
IMAGE = "registry.example.org/figment@sha256:" + "0" * 64
VARIABLES = {
    **os.environ,
    "FIGMENT_BUCKET": "bucket",
    "FIGMENT_HOST": "gpu.example.org",
    "FIGMENT_KUBERNETES_CONTEXT": "test",
    "FIGMENT_MLFLOW": "https://mlflow.example.org",
    "FIGMENT_REGISTRY": "registry.example.org",
    "FIGMENT_USER": "me",
}
SECRETS = {
    "figment_mlflow": {"username": "me", "password": "unknown"},
    "figment_server": {"token": "unknown"},
    "figment_s3": {"key": "me", "secret": "unknown"},
    "figment_ssh": {"key": "unknown"},
}


def make_secrets():
    for name, values in SECRETS.items():
        try:
            Client().get_secret_by_name_and_private_status(name)
        except KeyError:
            Client().create_secret(name, values)


@pytest.fixture(autouse=True)
def _store(monkeypatch):
    monkeypatch.setenv("FIGMENT_STORE", "memory://figment")  # without one nothing runs in pods; nothing is sent


@pytest.fixture
def local_after():
    """The tests' own local stack, active before and after."""
    prepare()
    before = Client().active_stack_model.name
    yield
    Client().activate_stack(before)


@pytest.fixture
def registered(local_after):
    """A stack file's content under a name of its own, of which ZenML's database holds nothing yet or any more."""
    make_secrets()

    def forget():
        client = Client()
        if client.list_stacks(name="test_apply").total:
            client.delete_stack("test_apply", recursive=False)
        for kind in ("orchestrator", "artifact_store", "experiment_tracker", "model_registry", "container_registry"):
            if client.list_stack_components(type=kind, name="test_apply").total:
                client.delete_stack_component("test_apply", kind)
        if client.list_stack_components(type="image_builder", name="test_apply").total:
            client.delete_stack_component("test_apply", "image_builder")

    forget()
    yield
    Client().activate_stack("figment")
    forget()


def write(tmp_path, change=lambda content: None, source="kubernetes"):
    """A copy of a stack file, changed."""
    content = yaml.safe_load((FOLDER / f"{source}.yaml").read_text())
    content["name"] = "test_apply"
    change(content)
    path = tmp_path / "stack.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_stack_file_opens_with_the_command_that_applies_it_and_is_valid(path):
    assert path.read_text().startswith(f"# figment stack apply {path}\n")
    stack = read_stack(path, VARIABLES)
    assert not missing_packages(stack)  # of the development group
    for kind, component in stack.components.items():  # what ZenML will validate a step's settings by
        implementation = flavors()[kind, component.flavor]().implementation_class
        if isinstance(getattr(implementation, "settings_class", None), property):
            assert settings_class(kind, component.flavor) == implementation.settings_class.fget(None)


def test_every_step_has_one_role():
    found = {
        value.name
        for module in pkgutil.walk_packages(steps.__path__, "steps.")
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, BaseStep)
    }
    assert found == set(roles())
    assert set(roles().values()) == set(ROLES)


def pod_settings(content):
    return content["steps"]["render"]["settings"]["orchestrator"]["pod_settings"]


def config_of(content, kind):
    return content["components"][kind]["configuration"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.update(step={}), "step is not known; did you mean 'steps'"),
        (lambda c: c["components"].update(orchestrater={"flavor": "local"}), "did you mean 'orchestrator'"),
        (lambda c: c["components"].pop("artifact_store"), "components: 'artifact_store' is missing"),
        (lambda c: c["components"]["orchestrator"].update(flavor="kubernets"), "did you mean 'kubernetes'"),
        (
            lambda c: config_of(c, "orchestrator").update(kubernetes_namspace="x"),
            r"orchestrator\.configuration: 'kubernetes_namspace' is not known here; did you mean 'kubernetes_namespace'",
        ),
        (
            lambda c: config_of(c, "orchestrator")["pod_settings"].update(toleration=[]),
            r"configuration\.pod_settings: 'toleration' is not known here; did you mean 'tolerations'",
        ),
        (
            lambda c: config_of(c, "orchestrator")["pod_settings"]["volumes"][0].update(emptyDirr={}),
            r"volumes\[0\]: 'emptyDirr' is not known here; did you mean 'emptyDir'",
        ),
        (
            lambda c: pod_settings(c)["tolerations"][0].update(efect="NoSchedule"),
            r"steps\.render\.settings\.orchestrator\.pod_settings\.tolerations\[0\]: 'efect' is not known here",
        ),
        (lambda c: pod_settings(c).update(node_selectors=["a"]), r"node_selectors: .*a mapping of fields"),
        (
            lambda c: c["steps"]["render"]["settings"]["resources"].update(gpus=1),
            r"steps\.render\.settings\.resources: 'gpus' is not known here",
        ),
        (
            lambda c: c["steps"]["render"]["settings"]["resources"].update(memory="24 gigabytes"),
            r"steps\.render\.settings\.resources\.memory: .*found '24 gigabytes'",
        ),
        (lambda c: c["steps"].update(renders={}), r"steps: 'renders' is not known here; did you mean 'render'"),
        (lambda c: c["steps"]["look"].update(setings={}), r"steps\.look: 'setings' is not known here"),
        (
            lambda c: c["settings"]["docker"].update(docker_file="x"),
            r"settings\.docker: 'docker_file' is not known here; did you mean 'dockerfile'",
        ),
        (lambda c: c["settings"].update(step_operator={}), "settings: 'step_operator' is not known here"),
        (
            lambda c: config_of(c, "experiment_tracker").update(tracking_password="hunter2"),
            r"tracking_password: a secret stands there in clear; name one .*\{\{secret\.key\}\}",
        ),
        (lambda c: config_of(c, "artifact_store").update(path="bucket"), r"components\.artifact_store\.configuration"),
        (lambda c: config_of(c, "artifact_store").update(path="s3://${NOWHERE}"), r"\$\{NOWHERE\} is not set; `export"),
    ],
)
def test_what_is_wrong_in_a_stack_file_is_one_sentence(tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        read_stack(write(tmp_path, change), VARIABLES)
    assert str(tmp_path / "stack.yaml") in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_that_is_none_is_named(tmp_path):
    (tmp_path / "stack.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"stack\.yaml: not readable YAML"):
        read_stack(tmp_path / "stack.yaml")


def everything():
    """All that ZenML's database says of stacks and components, with the times of their last change."""
    client = Client()
    models = [*client.list_stacks(size=100), *client.list_stack_components(size=200)]
    return {model.id: model.get_hydrated_version().model_dump_json() for model in models}


@pytest.mark.parametrize("source", [path.stem for path in FILES])
def test_applying_twice_changes_nothing(registered, tmp_path, source):
    path = FOLDER / "local.yaml" if source == "local" else write(tmp_path, source=source)
    stack = read_stack(path, VARIABLES)
    apply_stack(stack)
    there = everything()
    assert apply_stack(read_stack(path, VARIABLES)) == []
    assert everything() == there
    assert Client().active_stack_model.name == stack.name


def test_a_changed_file_updates_what_it_changed_and_nothing_else(registered, tmp_path):
    assert "created orchestrator test_apply" in apply_stack(read_stack(write(tmp_path), VARIABLES))
    ids = {c.type: c.id for c in Client().list_stack_components(name="test_apply")}

    def change(content):
        config_of(content, "orchestrator").update(kubernetes_namespace="other")
        del config_of(content, "orchestrator")["ttl_seconds_after_finished"]
        content["steps"]["render"]["settings"]["resources"]["gpu_count"] = 2

    done = apply_stack(read_stack(write(tmp_path, change), VARIABLES))
    assert done == [
        "updated orchestrator test_apply: kubernetes_namespace, ttl_seconds_after_finished",
        "updated stack test_apply",
    ]
    assert {c.type: c.id for c in Client().list_stack_components(name="test_apply")} == ids
    found = Client().get_stack_component("orchestrator", "test_apply").configuration
    assert found["kubernetes_namespace"] == "other"
    assert "ttl_seconds_after_finished" not in found
    snapshot = compiled(bag_of_tricks, Path("configs/pocket/bag_of_tricks.yaml"))
    assert gpus(snapshot, "synthesise_images") == "2"

    done = apply_stack(read_stack(write(tmp_path, lambda c: c["components"].pop("model_registry")), VARIABLES))
    assert "updated stack test_apply" in done
    assert "model_registry" not in Client().get_stack("test_apply").components


def test_a_component_that_has_another_flavor_already_is_refused(registered, tmp_path):
    apply_stack(read_stack(write(tmp_path), VARIABLES))
    with pytest.raises(InputError, match=r"'test_apply' is registered already, with flavor 'kubernetes', not 'ssh'"):
        apply_stack(read_stack(write(tmp_path, source="ssh"), VARIABLES))


def test_a_secret_that_is_missing_is_named_with_the_command_that_makes_it(registered, tmp_path):
    def change(content):
        config_of(content, "artifact_store").update(key="{{nobodys.key}}", secret="{{figment_mlflow.token}}")

    def repair(content):
        config_of(content, "artifact_store").update(key="{{figment_s3.key}}", secret="{{figment_mlflow.token}}")

    with pytest.raises(
        InputError, match=r"secret 'nobodys' lacks key; `zenml secret create nobodys --key=\.\.\.` sets"
    ):
        apply_stack(read_stack(write(tmp_path, change), VARIABLES))
    with pytest.raises(InputError, match="secret 'figment_mlflow' lacks token; `zenml secret update figment_mlflow"):
        apply_stack(read_stack(write(tmp_path, repair), VARIABLES))
    assert not Client().list_stack_components(name="test_apply").total  # nothing is half applied


def test_what_a_runs_config_says_of_a_step_goes_before_the_stack(registered, tmp_path):
    apply_stack(read_stack(write(tmp_path), VARIABLES))
    config = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    config["parameters"]["parts"] = 2
    config["steps"] = {"render_part_2": {"settings": {"resources": {"gpu_count": 4}}}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    snapshot = compiled(bag_of_tricks, path)
    assert gpus(snapshot, "render_part") == "1"
    assert gpus(snapshot, "render_part_2") == "4"
    requests = asked(snapshot, "render_part_2").pod_settings.resources["requests"]
    assert requests == {"nvidia.com/gpu": "4", "cpu": "4", "memory": "24576Mi"}


def test_a_step_by_its_name_goes_before_its_role(registered, tmp_path):
    def change(content):
        content["steps"]["predict_images"] = {"settings": {"resources": {"gpu_count": 1, "cpu_count": 2}}}

    apply_stack(read_stack(write(tmp_path, change), VARIABLES))
    pod = asked(compiled(predict, Path("configs/pocket/predict.yaml")), "predict_images").pod_settings
    assert pod.resources["requests"] == {"nvidia.com/gpu": "1", "cpu": "2", "memory": "16384Mi"}


def test_the_local_stack_asks_for_nothing(local_after):
    apply_stack(read_stack(FOLDER / "local.yaml"))
    snapshot = compiled(predict, Path("configs/pocket/predict.yaml"))
    assert snapshot.step_configurations["predict_images"].config.resource_settings.empty


def test_on_one_machine_the_steps_that_ask_for_a_gpu_get_it(registered, tmp_path):
    """The Compose services are what ZenML's SSH orchestrator would start on the machine."""
    apply_stack(read_stack(write(tmp_path, source="ssh"), VARIABLES))
    snapshot = stored(compiled(bag_of_tricks, Path("configs/pocket/bag_of_tricks.yaml")), bag_of_tricks)
    orchestrator = Client().active_stack.orchestrator
    for name, step in snapshot.step_configurations.items():
        service = orchestrator._step_service(snapshot, name, step, "run", {})
        assert "/srv/figment/artifacts:/app/code/artifacts" in service["volumes"]
        devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        wanted = (
            [] if roles()[name] == "light" else [{"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}]
        )
        assert devices == wanted
        assert len(service.get("depends_on", {})) == len(step.spec.upstream_steps)


def test_the_command_applies_a_file_and_says_what_it_did(local_after, capsys, tmp_path):
    assert main(["stack", "apply", str(FOLDER / "local.yaml")]) == 0
    assert main(["stack", "apply", str(FOLDER / "local.yaml")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "figment: nothing to change"
    assert main(["stack", "apply", str(tmp_path / "none.yaml")]) == 2
    assert re.fullmatch(r"error: .*none\.yaml: not readable YAML .*\n", capsys.readouterr().err)


@pytest.fixture
def mlflow_server(monkeypatch):
    """An MLflow server on the loopback that knows of no model; what it was asked, and by whose word."""
    asked = []

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((urlsplit(self.path).path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments):
            pass

    before = mlflow.get_tracking_uri()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_INSECURE_TLS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back afterwards
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):  # of another stack
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
    mlflow.set_tracking_uri(before)


def test_commands_ask_the_tracker_of_the_active_stack(registered, tmp_path, capsys, mlflow_server):
    address, asked = mlflow_server
    apply_stack(read_stack(write(tmp_path, source="server"), VARIABLES | {"FIGMENT_MLFLOW": address}))
    assert main(["why", "unknown"]) == 2
    assert "registered are none" in capsys.readouterr().err
    assert ("/api/2.0/mlflow/model-versions/search", "Bearer unknown") in asked


def test_preparing_leaves_the_stack_that_was_applied_last(registered, tmp_path):
    apply_stack(read_stack(write(tmp_path), VARIABLES))
    prepare()
    assert Client().active_stack_model.name == "test_apply"


@pytest.mark.parametrize("source", ["kubernetes", "ssh"])
def test_the_image_is_built_from_the_lock_file_alone(source):
    docker = read_stack(FOLDER / f"{source}.yaml", VARIABLES).settings["docker"]
    context = BuildContext(docker["build_context_root"], docker["parent_image_build_config"]["dockerignore"])
    assert set(context.get_files()) - {".zen", ".zen/config.yaml"} == {"pyproject.toml", "uv.lock"}
    assert Path(docker["dockerfile"]).is_file()
    assert not docker["install_stack_requirements"]  # ZenML would install past the lock file


def test_the_dockerfile_names_extras_that_exist_and_the_environments_own_values():
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", "")
    words = [word for line in text.splitlines() if line.startswith("RUN uv sync") for word in shlex.split(line)]
    extras = {words[i + 1] for i, word in enumerate(words) if word == "--extra"}
    assert extras <= set(tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert "--locked" in words
    set_here = dict(p.split("=", 1) for line in text.splitlines() if line.startswith("ENV ") for p in line[4:].split())
    known = dict(line.split("=", 1) for line in Path(".env").read_text().splitlines() if "=" in line and line[0] != "#")
    same = {name for name in set_here if name in known} - {"ZENML_CONFIG_PATH", "HF_HOME"}  # folders of the container
    assert {name: set_here[name] for name in same} == {name: known[name] for name in same}
    silent = {name for name in known if re.search("TELEMETRY|ANALYTICS|DO_NOT_TRACK", name)}
    assert silent <= same


def test_merging_leaves_both_as_they_were():
    under, over = {"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}}
    assert merge(under, over) == {"a": {"b": 1, "c": [2]}}
    assert (under, over) == ({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}})


def compiled(pipeline, path):
    """The pipeline as ZenML would submit it on the active stack."""
    run = pipeline.with_options(config_path=str(path))
    run._prepare_if_possible()
    return run._compile(config_path=str(path))[0]


def stored(compiled, pipeline):
    """The same in ZenML's database, with an image that need not be built."""
    client = Client()
    ids = {
        "project": client.active_project.id,
        "stack": client.active_stack_model.id,
        "pipeline": pipeline.register().id,
    }
    image = {"image": IMAGE, "contains_code": True, "requires_code_download": False}
    build = PipelineBuildRequest(**ids, is_local=False, contains_code=True, images={"orchestrator": image})
    build = client.zen_store.create_build(build).id
    return client.zen_store.create_snapshot(PipelineSnapshotRequest(**ids, build=build, **compiled.model_dump()))


def asked(snapshot, step):
    """What the step asks of the orchestrator."""
    return Client().active_stack.orchestrator.get_settings(snapshot.step_configurations[step])


def gpus(snapshot, step):
    return asked(snapshot, step).pod_settings.resources["limits"]["nvidia.com/gpu"]
