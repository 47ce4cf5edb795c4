"""Any OpenAI-compatible chat server (vLLM, llama.cpp, Ollama, a vendor's): asked again, in earnest, when it fails."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from figment.errors import InputError
from figment.prompts.chat import Answer, ChatConfig, Question

MAX_ANSWER_BYTES = 4_000_000
MAX_WAIT_SECONDS = 60
WORTH_ANOTHER_TRY = {408, 409, 425, 429, 500, 502, 503, 504}


class _Unusable(Exception):
    """An attempt that failed in a way that another may not. ``wait`` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float = 0):
        super().__init__(reason)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected request would carry the key to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class ChatServer:
    """``batch_size`` requests in flight; each is tried ``attempts`` times, with a growing pause between."""

    def __init__(self, config: ChatConfig):
        base = (config.base_url or "").rstrip("/")
        if not base.startswith(("http://", "https://")):
            raise InputError(
                f"prompts.base_url: {config.base_url!r} is no http(s) address; give one such as http://127.0.0.1:8000/v1"
            )
        self.config = config
        self.url = f"{base}/chat/completions"
        self.headers = {"Content-Type": "application/json"}
        if config.api_key_variable:
            key = os.environ.get(config.api_key_variable, "").strip()
            if not key:
                raise InputError(
                    f"prompts.api_key_variable: the environment variable {config.api_key_variable} is not set; "
                    "put the server's key there"
                )
            self.headers["Authorization"] = f"Bearer {key}"
        self.opener = urllib.request.build_opener(_NoRedirect)

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """Each as it comes. If one question fails for good, those in flight are still handed over before the error.

        Whoever leaves early, by Ctrl-C too, waits for no server: what is in flight is left to daemon threads.
        """
        waiting = deque(questions)
        done: SimpleQueue[Answer | Exception | None] = SimpleQueue()  # None: a thread that has nothing more to do
        left = Event()
        threads = [
            Thread(target=self._work, args=(waiting, done, left), daemon=True)
            for _ in range(min(self.config.batch_size, len(questions)))
        ]
        failure: Exception | None = None
        try:
            for thread in threads:
                thread.start()
            for _ in threads:
                while (found := done.get()) is not None:
                    if isinstance(found, Answer):
                        yield found
                    else:
                        failure = failure or found
        finally:
            waiting.clear()
            left.set()
        if failure is not None:
            raise failure

    def _work(self, waiting: deque[Question], done: SimpleQueue[Answer | Exception | None], left: Event) -> None:
        """Answer one question after the other until none waits; an error sends the waiting ones away."""
        try:
            while True:
                try:
                    question = waiting.popleft()
                except IndexError:
                    break
                done.put(self._answer(question, left))
        except Exception as error:
            waiting.clear()
            done.put(error)
        finally:
            done.put(None)

    def _answer(self, question: Question, left: Event) -> Answer:
        """One answer, or an InputError that says what the last attempt met; no further attempt once all have ``left``."""
        reason = ""
        for attempt in range(self.config.attempts):
            try:
                return self._ask(question)
            except _Unusable as error:
                reason = str(error)
                pause = min(max(self.config.backoff_seconds * 2**attempt, error.wait), MAX_WAIT_SECONDS)
                if attempt + 1 == self.config.attempts or left.wait(pause):
                    break
        raise InputError(
            f"chat server {self.url}: no usable answer in {self.config.attempts} attempts (the last {reason}); "
            "check the server, then run the same command again: the answers so far are kept"
        )

    def _ask(self, question: Question) -> Answer:
        body = {
            "model": self.config.model,
            "messages": [{"role": "user", "content": question.text}],
            "temperature": question.temperature,
            "top_p": question.top_p,
            "max_tokens": question.max_new_tokens,
            "seed": int(question.key[:7], 16),
        }
        request = urllib.request.Request(self.url, json.dumps(body).encode(), self.headers)
        deadline = time.monotonic() + self.config.timeout_seconds
        try:
            with self.opener.open(request, timeout=self.config.timeout_seconds) as response:
                return _read(self._body(response, deadline), question)
        except urllib.error.HTTPError as error:
            said = self._without_key(" ".join(error.read(300).decode("utf-8", "replace").split()))
            if error.code in WORTH_ANOTHER_TRY:
                raise _Unusable(
                    f"answered {error.code}: {said}", _retry_after(error.headers.get("Retry-After"))
                ) from error
            raise InputError(
                f"chat server {self.url}: refused the request with {error.code} ({said}); "
                "check prompts.model, the address and the key"
            ) from error
        except TimeoutError as error:
            raise _Unusable(f"gave no answer within {self.config.timeout_seconds:g} s") from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _Unusable(f"gave no answer within {self.config.timeout_seconds:g} s") from error
            raise _Unusable(f"could not be reached: {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Unusable(f"broke off: {type(error).__name__}") from error

    def _without_key(self, text: str) -> str:
        """Some servers repeat the key that they refuse."""
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return text.replace(key, "***") if key else text

    def _body(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        """What the server sends, if it is done by ``deadline`` and of a sane size."""
        parts: list[bytes] = []
        while part := response.read1(65536):
            parts.append(part)
            if time.monotonic() > deadline:
                raise TimeoutError
            if sum(map(len, parts)) > MAX_ANSWER_BYTES:
                raise _Unusable(f"sent more than {MAX_ANSWER_BYTES} bytes")
        return b"".join(parts)


def _read(data: bytes, question: Question) -> Answer:
    """The answer in a chat completion; whatever else came is garbage, worth another try."""
    try:
        choice = json.loads(data)["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise _Unusable(f"sent no chat completion but {data[:60]!r}") from error
    if not isinstance(text, str) or not text.strip():
        raise _Unusable("sent an empty answer")
    return Answer(text, choice.get("finish_reason") != "length", question.key)


def _retry_after(value: str | None) -> float:
    return float(value) if value and value.strip().isdigit() else 0.0
