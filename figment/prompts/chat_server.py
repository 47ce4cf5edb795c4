"""Any OpenAI-compatible chat server (vLLM, llama.cpp, Ollama, a vendor's), asked again when it fails.

The client is httpx2, the one beneath huggingface_hub. Its ``InferenceClient`` would follow redirects, read bodies of any size,
send the hub's token to a server without a key, and ask no one where HF_HUB_OFFLINE is set.
"""

import asyncio
import contextlib
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any

import httpx2

from figment.errors import InputError
from figment.prompts.chat import Answer, ChatConfig, Question, check_address, only_thought, thought_too_long
from figment.text import chat_messages, one_line, reason_of

MAX_ANSWER_BYTES = 4_000_000
MAX_WAIT_SECONDS = 60
WORTH_ANOTHER_TRY = {408, 409, 425, 429, 500, 502, 503, 504}
NO_SCHEMA = {400, 404, 415, 422, 501}  # how servers refuse a response_format that they do not know
LIST_OF_PROMPTS = {
    "type": "json_schema",
    "json_schema": {
        "name": "prompts",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"prompts": {"type": "array", "items": {"type": "string"}}},
            "required": ["prompts"],
            "additionalProperties": False,
        },
    },
}


class _Unusable(Exception):
    """An attempt that failed in a way that another may not. ``wait`` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float = 0, advice: str = "check the server"):
        super().__init__(reason)
        self.wait = wait
        self.advice = advice


class ChatServer:
    """``batch_size`` requests in flight; each is tried ``attempts`` times, with a growing pause between."""

    def __init__(self, config: ChatConfig):
        self.config = config
        self.url = f"{check_address(config.base_url or '')}/chat/completions"
        self.headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "figment"}
        self.secrets: list[str] = []
        self.with_schema = config.answer_format == "json"
        if config.api_key_variable:
            key = os.environ.get(config.api_key_variable, "").strip()
            if not key:
                raise InputError(
                    f"prompts.api_key_variable: the environment variable {config.api_key_variable} is not set; "
                    "put the server's key there"
                )
            if not (key.isascii() and key.isprintable()):
                raise InputError(
                    f"prompts.api_key_variable: the key in {config.api_key_variable} holds a line break or a character beyond "
                    "ASCII, which no HTTP header can carry; put the key alone there"
                )
            self.headers["Authorization"] = f"Bearer {key}"
            self.secrets.append(key)

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """Each as it comes. If one question fails for good, those in flight are still handed over before the error.

        A caller who leaves early, by Ctrl-C too, waits for no server: the requests in flight are cancelled in their thread.
        """
        found: SimpleQueue[Answer | Exception | None] = SimpleQueue()  # None: there is nothing more to come
        loop = asyncio.new_event_loop()
        work = loop.create_task(self._ask_all(deque(questions), found))
        Thread(target=_drive, args=(loop, work, found), name="chat server", daemon=True).start()
        failure: Exception | None = None
        try:
            while (result := found.get()) is not None:
                if isinstance(result, Answer):
                    yield result
                else:
                    failure = failure or result
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(work.cancel)
        if failure is not None:
            raise failure

    async def _ask_all(self, waiting: deque[Question], found: SimpleQueue[Answer | Exception | None]) -> None:
        """Put an answer to each question into ``found``; after an error no further question is begun."""

        async def work() -> None:
            while waiting:
                try:
                    found.put(await self._answer(client, waiting.popleft()))
                except Exception as error:
                    waiting.clear()
                    found.put(error)

        try:
            client = httpx2.AsyncClient(headers=self.headers, timeout=None, limits=httpx2.Limits(max_connections=None))
        except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
            raise InputError(
                f"chat server {self.url}: no connection can be prepared ({reason_of(error, self.secrets)}); check the "
                "environment's variables for proxies and certificates"
            ) from error
        async with client:
            await asyncio.gather(*(work() for _ in range(min(self.config.batch_size, len(waiting)))))

    async def _answer(self, client: httpx2.AsyncClient, question: Question) -> Answer:
        """One answer, or an InputError that says what the last attempt met."""
        last = _Unusable("")
        for attempt in range(self.config.attempts):
            if attempt:
                pause = max(self.config.backoff_seconds * 2 ** min(attempt - 1, 16), last.wait)
                await asyncio.sleep(min(pause, MAX_WAIT_SECONDS))
            try:
                return await self._ask(client, question)
            except _Unusable as error:
                last = error
        raise InputError(
            f"chat server {self.url}: no usable answer in {self.config.attempts} attempts (the last {last}); "
            f"{last.advice}, then run the same command again: the answers so far are kept"
        )

    async def _ask(self, client: httpx2.AsyncClient, question: Question) -> Answer:
        """One attempt: ``timeout_seconds`` for all of it, however slowly the server sends."""
        status, wait, body, broken = 0, 0.0, bytearray(), ""
        with_schema = self.with_schema
        content = json.dumps(self._body(question, with_schema)).encode()
        try:
            async with (
                asyncio.timeout(self.config.timeout_seconds),
                client.stream("POST", self.url, content=content) as response,
            ):
                status, wait = response.status_code, _seconds(response.headers.get("retry-after"))
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        broken = f"sent more than {MAX_ANSWER_BYTES} bytes"
                        break
        except TimeoutError:
            broken = f"gave no answer within {self.config.timeout_seconds:g} s"
        except httpx2.ConnectError as error:
            broken = f"could not be reached: {reason_of(error, self.secrets)}"
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError, ValueError) as error:
            broken = f"broke off: {type(error).__name__}: {reason_of(error, self.secrets, 100)}"
        text = one_line(bytes(body), self.secrets)
        if status in WORTH_ANOTHER_TRY:
            raise _Unusable(f"answered {status}: {text}", wait)
        if with_schema and status in NO_SCHEMA:
            self.with_schema = False  # for all questions: this server knows no schemas
            return await self._ask(client, question)
        if status and status != 200:
            raise InputError(
                f"chat server {self.url}: refused the request with {status} ({text}); "
                "check prompts.model, the address and the key"
            )
        if broken:
            raise _Unusable(broken)
        return self._read(bytes(body), question)

    def _body(self, question: Question, with_schema: bool) -> dict[str, Any]:
        body = {
            "model": self.config.model,
            "messages": chat_messages(question.text, self.config.system),
            "temperature": question.temperature,
            "top_p": question.top_p,
            "max_tokens": question.max_new_tokens,
            "seed": int(question.key[:7], 16),
        }
        if self.config.template:
            body["chat_template_kwargs"] = self.config.template
        if with_schema:
            body["response_format"] = LIST_OF_PROMPTS
        return {name: value for name, value in (body | self.config.extra).items() if value is not None}

    def _read(self, data: bytes, question: Question) -> Answer:
        """The answer in a chat completion; whatever else came is garbage, worth another try."""
        try:
            choice = json.loads(data)["choices"][0]
            message, finish = choice["message"], choice.get("finish_reason")
            text, refusal = _text(message.get("content")), message.get("refusal")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise _Unusable(f"sent no chat completion but {one_line(data, self.secrets, 200)!r}") from error
        answer = Answer(text, finish not in ("length", "content_filter"), question.key)
        if finish == "length" and only_thought(text):
            raise InputError(f"chat server {self.url}: {thought_too_long(self.config)}")
        if text.strip():
            return answer
        if refusal and isinstance(refusal, str):
            advice = "ask for other classes, or another model"
            raise _Unusable(f"refused to answer: {one_line(refusal, self.secrets, 200)}", advice=advice)
        if finish == "content_filter":
            advice = "ask for other classes, or another model"
            raise _Unusable("withheld the answer, finish_reason content_filter", advice=advice)
        raise _Unusable(
            "sent an empty answer",
            advice="look at what the server logs, or raise max_new_tokens if the model thinks first",
        )


def _drive(
    loop: asyncio.AbstractEventLoop, work: asyncio.Task[None], found: SimpleQueue[Answer | Exception | None]
) -> None:
    """Run ``work`` to its end in this thread, and say when it is there."""
    try:
        loop.run_until_complete(work)
    except asyncio.CancelledError:
        pass
    except Exception as error:
        found.put(error)
    finally:
        found.put(None)
        loop.close()


def _text(content: Any) -> str:
    """A message's content: a text, or a list of parts of which those of text count. Half a surrogate pair becomes U+FFFD."""
    if isinstance(content, list):
        parts = [part if isinstance(part, str) else part.get("text") for part in content if part]
        content = "".join(part for part in parts if isinstance(part, str))
    if content is not None and not isinstance(content, str):
        raise TypeError("a message's content is text, or a list of parts")
    return (content or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _seconds(value: str | None) -> float:
    """Of a Retry-After in seconds; of a date none."""
    return float(value) if value and value.isascii() and value.isdecimal() else 0.0
