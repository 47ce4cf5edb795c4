"""Ask a chat model, and keep every answer: a local model of transformers or any OpenAI-compatible server.

Each answer lies in a cache under the hash of what was asked, written as soon as it is there: a crash loses none, the
same question is paid for once, and the raw answers stay for whoever wants to parse them anew.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from pydantic import Field
from tqdm import tqdm

from figment import store
from figment.errors import InputError
from figment.files import digest, sha256_folder, write_json
from figment.types import Count, ModelName, NonNegative, Number, Positive, Seed, Settings


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
    timeout_seconds: Positive = 120  # for one answer of a server
    attempts: Count = 4  # times that a server is asked before giving up
    backoff_seconds: NonNegative = 1  # before the second attempt; doubles with each


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

    @property
    def key(self) -> str:
        """SHA-256 (hex); also the source of the answer's randomness."""
        return digest(asdict(self))


@dataclass(frozen=True)
class Answer:
    """A raw answer; ``finished`` is false if it was cut at ``max_new_tokens``. ``key`` is its question's."""

    text: str
    finished: bool
    key: str

    @property
    def whole_lines(self) -> str:
        """The text without the line that was cut."""
        return self.text if self.finished else self.text.rpartition("\n")[0]


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
            with tqdm(total=len(missing), unit="answer", desc="prompts", leave=False) as bar:
                for answer in self._open_backend().answers(missing):
                    self._keep(by_key[answer.key], answer)
                    found[answer.key] = answer
                    bar.update()
        return [found[q.key] for q in questions]

    def _question(self, text: str, draw: int) -> Question:
        c = self.config
        model = f"{c.base_url} {c.model}" if c.base_url else c.model
        return Question(text, draw, model, self.revision, c.temperature, c.top_p, c.max_new_tokens, c.seed)

    def _open_backend(self) -> Backend:
        if self._backend is None:
            if self.config.base_url:
                from figment.prompts.chat_server import ChatServer

                self._backend = ChatServer(self.config)
            else:
                from figment.prompts.chat_local import LocalChat

                self._backend = LocalChat(self.config)
        return self._backend

    def _path(self, key: str) -> Path:
        return self.cache / key[:2] / f"{key}.json"

    def _cached(self, question: Question) -> Answer | None:
        path = self._path(question.key)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return Answer(str(kept["answer"]), bool(kept["finished"]), question.key)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: not an answer that Figment wrote ({error}); remove the file to ask anew"
            ) from error

    def _keep(self, question: Question, answer: Answer) -> None:
        write_json(
            self._path(question.key),
            {"question": asdict(question), "answer": answer.text, "finished": answer.finished},
        )
