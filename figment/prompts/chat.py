"""Ask a chat model, and keep every answer: a local model of transformers or any OpenAI-compatible server.

Each answer lies in a cache under the hash of what was asked, written as soon as it is there: a crash loses none, the
same question is paid for once, and the raw answers stay for whoever wants to parse them again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from figment import store
from figment.errors import InputError
from figment.files import canonical_json, digest, sha256_folder, write_json
from figment.progress import Progress
from figment.prompts.parsing import REASONING, looks_like_json
from figment.reading import read_artifact
from figment.text import reason_of, shown
from figment.types import Count, ModelName, NonNegative, Number, Positive, Seed, Settings

ANSWERS = "answers"  # the folder of a run that keeps what a chat model said


class ChatConfig(Settings):
    """A chat model of transformers by hub id or folder; with ``base_url`` the model of that name on a server.

    The sampling settings are the paper's (temperature 0.6, top-p 0.9).
    """

    model: ModelName
    revision: str = "main"  # of a hub id; a local folder's revision is the hash of its content
    base_url: str | None = None  # of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1
    api_key_variable: str | None = None  # the environment variable that holds the server's key, if it wants one
    temperature: NonNegative = 0.6
    top_p: Number = Field(0.9, gt=0, le=1)
    max_new_tokens: Count = 800
    seed: Seed = 0
    batch_size: Count = 8  # questions in one forward pass, or in flight at the server
    device: str = "auto"
    system: str | None = None  # a system message before each question, for models that want one
    template: dict[str, JsonValue] = Field({})  # what the chat template is told, such as enable_thinking: false
    extra: dict[str, JsonValue] = Field({})  # merged into a server's request; null removes a field: seed: null
    answer_format: Literal["text", "json"] = "text"  # json: a server that can is held to a JSON list of prompts
    timeout_seconds: Positive = Field(120, le=86_400)  # for one answer of a server, all of it
    attempts: Count = 4  # times that a server is asked before giving up
    backoff_seconds: NonNegative = 1  # before the second attempt; doubles with each

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        if self.base_url is not None and "@" not in self.base_url:  # a password is refused where it is not shown
            check_address(self.base_url)
        if self.base_url is None and (self.extra or self.answer_format != "text"):
            raise ValueError("extra and answer_format are for a server; give base_url too")
        try:
            self.options.encode()
        except ValueError as error:
            raise ValueError(f"extra and template hold what JSON cannot ({reason_of(error)})") from error
        return self

    @property
    def options(self) -> str:
        """What else decides an answer, as canonical JSON; empty where nothing is set."""
        names = ("system", "template", "extra", "answer_format")
        chosen = {
            name: getattr(self, name) for name in names if getattr(self, name) != type(self).model_fields[name].default
        }
        return canonical_json(chosen) if chosen else ""


def check_address(base_url: str) -> str:
    """A server's address without a slash at its end. Raises InputError if it is no plain http(s) address."""
    import httpx2

    try:
        url = httpx2.URL(base_url.rstrip("/"))
        plain = url.scheme in ("http", "https") and not (url.userinfo or url.query or url.fragment)
        plain = plain and len(url.host.encode("idna")) > 0 and url.port != 0 and (url.port or 80) < 65_536
        plain = plain and base_url.isprintable() and " " not in base_url
    except (httpx2.InvalidURL, ValueError, TypeError):
        plain = False
    if not plain:
        found = shown(base_url.rpartition("@")[2].partition("?")[0])
        raise InputError(
            f"prompts.base_url: {found} is no http(s) address without user, query and fragment; "
            "give one such as http://127.0.0.1:8000/v1, and a key by api_key_variable"
        )
    return str(url)


def only_thought(text: str) -> bool:
    """Whether an answer holds nothing but a reasoning model's thinking."""
    return not REASONING.sub("", text).strip()


def thought_too_long(config: ChatConfig) -> str:
    return (
        f"{config.model} used up max_new_tokens ({config.max_new_tokens}) before its answer began, as a model does that thinks "
        "first; raise max_new_tokens, or let it not think where it can: template: {enable_thinking: false}"
    )


@dataclass(frozen=True)
class Question:
    """All that decides an answer. ``draw`` counts how often the same was asked for a new answer."""

    text: str
    draw: int
    model: str
    revision: str
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    options: str = ""

    @property
    def key(self) -> str:
        """SHA-256 (hex); also the source of the answer's randomness. ``options`` count where there are any."""
        return digest({name: value for name, value in asdict(self).items() if name != "options" or value})


@dataclass(frozen=True)
class Answer:
    """A raw answer; ``finished`` is false if it was cut at ``max_new_tokens``. ``key`` is its question's."""

    text: str
    finished: bool
    key: str

    @property
    def whole_lines(self) -> str:
        """The text without the line that was cut; of JSON all, as its strings say themselves where they end."""
        return self.text if self.finished or looks_like_json(self.text) else self.text.rpartition("\n")[0]


class KeptAnswer(BaseModel):
    """What the cache holds of an answer, in a file of its own."""

    question: Question
    answer: str
    finished: bool


def check_chat(config: ChatConfig, cache: Path) -> None:
    """Raise InputError now for a folder without a chat model and for a server's key that is not there. Nothing is asked for where
    ``cache`` has answers, since they may be all, and nothing of a hub model, which is fetched when it is asked."""
    if any(cache.glob("*/*.json")):
        return
    from figment.model_loaders.hub import HUB_ID

    if config.base_url or Path(config.model).is_dir() or not HUB_ID.fullmatch(config.model):
        open_backend(config)


def open_backend(config: ChatConfig) -> "Backend":
    """What answers: a server, or a model here. Their libraries are imported now."""
    if config.base_url:
        from figment.prompts.chat_server import ChatServer

        return ChatServer(config)
    from figment.prompts.chat_local import LocalChat

    return LocalChat(config)


class Backend(Protocol):
    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """An answer to each question, in any order, each as soon as it is there."""


class Chat:
    """A chat model behind a cache of answers in the folder ``cache``."""

    def __init__(self, config: ChatConfig, cache: Path):
        self.config = config
        self.cache = cache
        folder = Path(config.model)
        self.revision = sha256_folder(folder) if not config.base_url and folder.is_dir() else config.revision
        self._backend: Backend | None = None

    def ask(self, texts: Sequence[str], draw: int = 0) -> list[Answer]:
        """Answers in the order of ``texts``. Another ``draw`` is another answer to the same text."""
        questions = [self._question(text, draw) for text in texts]
        store.fetch(*(self._path(q.key) for q in questions))
        found = {q.key: answer for q in questions if (answer := self._cached(q)) is not None}
        missing = list({q.key: q for q in questions if q.key not in found}.values())
        if missing:
            by_key = {q.key: q for q in missing}
            with Progress(len(missing), "prompts", "answer") as bar:
                for answer in self._open_backend().answers(missing):
                    self._keep(by_key[answer.key], answer)
                    found[answer.key] = answer
                    bar.update()
        return [found[q.key] for q in questions]

    def _question(self, text: str, draw: int) -> Question:
        c = self.config
        model = f"{c.base_url} {c.model}" if c.base_url else c.model
        return Question(text, draw, model, self.revision, c.temperature, c.top_p, c.max_new_tokens, c.seed, c.options)

    def _open_backend(self) -> Backend:
        if self._backend is None:
            self._backend = open_backend(self.config)
        return self._backend

    def _path(self, key: str) -> Path:
        return self.cache / key[:2] / f"{key}.json"

    def _cached(self, question: Question) -> Answer | None:
        path = self._path(question.key)
        if not path.exists():
            return None
        kept = read_artifact(path, KeptAnswer)
        return Answer(kept.answer, kept.finished, question.key)

    def _keep(self, question: Question, answer: Answer) -> None:
        write_json(
            self._path(question.key),
            {"question": asdict(question), "answer": answer.text, "finished": answer.finished},
        )
