"""The chat backends: the pocket model, and a real HTTP server that misbehaves in every way servers do."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import ValidationError

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.ops.environment import ROOT
from figment.prompts.book import ask_for_prompts
from figment.prompts.chat import Chat, ChatConfig
from figment.prompts.chat_server import ChatServer
from figment.prompts.instructions import pair_instruction, scene_instruction
from figment.prompts.pairs import label_pairs

POCKET = ChatConfig(model=str(ROOT / "models/pocket/chat"), max_new_tokens=160, device="cpu")
SPACE = LabelSpace.of(["dog", "car", "pizza"])
GOOD = "1. A dog by a car.\n2. The car of a dog.\n3. Cars and dogs."


@pytest.fixture
def server(monkeypatch):
    """Answers each question by the next of ``server.script`` (the last again and again), and counts what it was asked."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = body["messages"][0]["content"]
            with lock:
                httpd.asked[question] += 1
                httpd.bodies.append((body, self.headers.get("Authorization"), self.path))
                steps = httpd.scripts.get(question, httpd.script)
                step = steps[min(httpd.asked[question], len(steps)) - 1]
            if step == "hang":
                released.wait(60)
                return
            if step == "reset":
                return
            if step == "dribble":
                self.send_response(200)
                self.end_headers()
                for _ in range(100):
                    if released.wait(0.05):
                        return
                    try:
                        self.wfile.write(b" ")
                    except OSError:
                        return
                return
            status, headers, text = step
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args):
            pass

    lock, released = threading.Lock(), threading.Event()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.asked, httpd.bodies, httpd.scripts, httpd.script = Counter(), [], {}, [completion(GOOD)]
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    httpd.config = ChatConfig(
        model="some-chat", base_url=f"http://127.0.0.1:{httpd.server_port}/v1",
        timeout_seconds=0.5, attempts=3, backoff_seconds=0.01,
    )  # fmt: skip
    yield httpd
    released.set()
    httpd.shutdown()
    httpd.server_close()


def completion(text: str, finish: str = "stop") -> tuple[int, dict, str]:
    return 200, {}, json.dumps({"choices": [{"message": {"content": text}, "finish_reason": finish}]})


def test_a_good_answer_comes_back_raw_and_is_asked_for_once(server, tmp_path):
    chat = Chat(server.config, tmp_path)
    first = chat.ask(["a", "b", "a"])
    again = Chat(server.config, tmp_path).ask(["b", "a"])
    assert [answer.text for answer in first] == [GOOD] * 3
    assert server.asked == {"a": 1, "b": 1}
    assert again == [first[1], first[0]]
    body, key, path = server.bodies[0]
    assert path == "/v1/chat/completions"
    assert key is None
    assert (body["model"], body["temperature"], body["top_p"]) == ("some-chat", 0.6, 0.9)


@pytest.mark.parametrize(
    "failure",
    [
        "hang",
        "reset",
        "dribble",
        (500, {}, "out of memory"),
        (503, {}, ""),
        (429, {"Retry-After": "0"}, "slow down"),
        (200, {}, "<html>garbage</html>"),
        (200, {}, '{"choices": []}'),
        (200, {}, '{"choices": [{"message": {"content": null}}]}'),
        (200, {"Content-Length": "9999"}, '{"choices": ['),
        completion("   "),
    ],
)
def test_a_failure_is_asked_again_in_earnest(server, tmp_path, failure):
    server.script = [failure, failure, completion(GOOD)]
    assert Chat(server.config, tmp_path).ask(["a"])[0].text == GOOD
    assert server.asked["a"] == 3


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        ("hang", r"no usable answer in 3 attempts \(the last gave no answer within 0\.5 s\)"),
        ((500, {}, "out of\nmemory"), r"in 3 attempts \(the last answered 500: out of memory\)"),
        ((200, {}, "<html>garbage"), "the last sent no chat completion but '<html>garbage'"),
    ],
)
def test_a_server_that_never_answers_is_given_up_with_one_sentence(server, tmp_path, failure, sentence):
    server.script = [failure]
    with pytest.raises(InputError, match=sentence) as caught:
        Chat(server.config, tmp_path).ask(["a"])
    assert server.asked["a"] == 3
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_named(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(
        InputError, match=r"chat server http://127\.0\.0\.1:\d+/v1/chat/completions: .*could not be reached"
    ):
        Chat(server.config, tmp_path).ask(["a"])


@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_a_refusal_is_not_asked_again(server, tmp_path, status):
    server.script = [(status, {"Location": "http://127.0.0.1:9/"}, "no such model")]
    with pytest.raises(InputError, match=f"refused the request with {status} .no such model."):
        Chat(server.config, tmp_path).ask(["a"])
    assert server.asked["a"] == 1


def test_the_wait_that_a_server_asks_for_is_kept(server, tmp_path):
    server.script = [(429, {"Retry-After": "1"}, ""), completion(GOOD)]
    start = time.monotonic()
    Chat(server.config, tmp_path).ask(["a"])
    assert time.monotonic() - start >= 1


def test_answers_survive_another_questions_failure(server, tmp_path):
    server.scripts = {"bad": [(500, {}, "")]}
    config = server.config.model_copy(update={"batch_size": 1})
    with pytest.raises(InputError, match="the answers so far are kept"):
        Chat(config, tmp_path).ask(["good", "bad", "later"])
    server.scripts = {}
    assert [answer.text for answer in Chat(config, tmp_path).ask(["good", "bad", "later"])] == [GOOD] * 3
    assert server.asked == {"good": 1, "bad": 4, "later": 1}


def test_questions_are_in_flight_together(server, tmp_path):
    barrier = threading.Barrier(4, timeout=60)  # passes only if four are there at once

    class Together(dict):
        def get(self, key, default=None):
            return default

    server.scripts = Together()
    original = server.RequestHandlerClass.do_POST

    def wait_then_answer(handler):
        barrier.wait()
        original(handler)

    server.RequestHandlerClass.do_POST = wait_then_answer
    config = server.config.model_copy(update={"batch_size": 4, "timeout_seconds": 5})
    assert len(Chat(config, tmp_path).ask(["a", "b", "c", "d"])) == 4


def test_who_leaves_early_waits_for_no_server_and_nothing_more_is_asked(server, tmp_path):
    server.scripts = {"slow": ["hang"]}
    config = server.config.model_copy(update={"batch_size": 2, "timeout_seconds": 1, "backoff_seconds": 30})
    chat = Chat(config, tmp_path)
    before = set(threading.enumerate())
    answers = ChatServer(config).answers([chat._question(text, 0) for text in ("slow", "good", "slow", "late")])
    assert next(answers).text == GOOD
    workers = [thread for thread in set(threading.enumerate()) - before if thread.name == "chat server"]
    assert workers
    start = time.monotonic()
    answers.close()
    assert time.monotonic() - start < 0.6  # less than the second of the attempt in flight
    for thread in workers:
        thread.join(3)  # less than the pause of 30 s
        assert not thread.is_alive()
    assert server.asked["slow"] <= 2  # each once
    assert server.asked["late"] == 0


def test_ctrl_c_ends_a_process_that_waits_for_a_slow_server(server, tmp_path):
    server.script = ["hang"]
    program = (
        "import sys; from pathlib import Path; from figment.prompts.chat import Chat, ChatConfig; "
        "Chat(ChatConfig(model='m', base_url=sys.argv[1]), Path(sys.argv[2])).ask(['a', 'b'])"
    )
    command = [sys.executable, "-c", program, server.config.base_url, str(tmp_path)]
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whoever started the tests may ignore Ctrl-C
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heeds) as process:
        try:
            for _ in range(6000):
                if len(server.asked) == 2 or process.poll() is not None:
                    break
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=40)  # the server hangs for 60 s, an attempt for 120 s
        finally:
            process.kill()
    assert set(server.asked) == {"a", "b"}
    assert "KeyboardInterrupt" in said


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "s3cret")
    config = server.config.model_copy(update={"api_key_variable": "SOME_KEY"})
    Chat(config, tmp_path).ask(["a"])
    assert server.bodies[0][1] == "Bearer s3cret"
    assert not [file for file in tmp_path.rglob("*.json") if "s3cret" in file.read_text()]
    server.script = [(401, {}, "bad key s3cret")]
    with pytest.raises(InputError, match=r"401 \(bad key \*\*\*\)") as caught:
        Chat(config, tmp_path).ask(["b"])
    assert "s3cret" not in str(caught.value)


def test_a_missing_key_is_named(server, tmp_path, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(InputError, match="the environment variable SOME_KEY is not set"):
        Chat(server.config.model_copy(update={"api_key_variable": "SOME_KEY"}), tmp_path).ask(["a"])


def test_an_address_that_is_none_is_named():
    with pytest.raises(ValidationError, match="'file:///etc' is no http"):
        ChatConfig(model="m", base_url="file:///etc")


def test_a_damaged_cached_answer_is_named(server, tmp_path):
    Chat(server.config, tmp_path).ask(["a"])
    (file,) = tmp_path.rglob("*.json")
    file.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=rf"{file.name}.*expected what Figment wrote; remove"):
        Chat(server.config, tmp_path).ask(["a"])


def test_a_cut_answer_loses_its_last_line(server, tmp_path):
    server.script = [completion("1. A dog by a car.\n2. A dog under a ca", finish="length")]
    answer = Chat(server.config, tmp_path).ask(["a"])[0]
    assert answer.whole_lines == "1. A dog by a car."


def test_a_pair_that_lacks_prompts_is_asked_anew_and_the_cache_does_not_answer(server, tmp_path):
    question = pair_instruction(["dog", "car"], 3)
    server.scripts = {question: [completion("1. A dog by a car.\n2. A cat."), completion(GOOD)]}
    book = ask_for_prompts([SPACE.labels[:2]], Chat(server.config, tmp_path), 3)
    assert server.asked[question] == 2
    assert [prompt.text for prompt in book.prompts] == ["A dog by a car.", "The car of a dog.", "Cars and dogs."]
    assert book.drops == {"missing_label": 1}
    assert book.short == {}
    assert {prompt.labels for prompt in book.prompts} == {("dog", "car")}
    assert len({prompt.source for prompt in book.prompts}) == 2


def test_a_pair_that_stays_short_is_counted(server, tmp_path):
    server.script = [completion("1. A dog by a car.")]
    book = ask_for_prompts([SPACE.labels[:2]], Chat(server.config, tmp_path), 3, rounds=2)
    assert book.short == {("dog", "car"): 1}


def test_a_class_without_a_usable_prompt_is_one_clear_sentence(server, tmp_path):
    server.script = [completion("Sure! Here are 3 captions:\n1. A cat.\n2. A cow.\nLet me know!")]
    with pytest.raises(InputError, match="class 'dog': no usable prompt in 2 rounds of some-chat's answers"):
        ask_for_prompts([SPACE.labels[:2]], Chat(server.config, tmp_path), 3, rounds=2)


def test_the_pocket_model_fills_a_book(tmp_path):
    book = ask_for_prompts(label_pairs(SPACE), Chat(POCKET, tmp_path), 4)
    assert len(book.prompts) + sum(4 - found for found in book.short.values()) == 6 * 4
    assert len(book.prompts) >= 20
    assert all(label in prompt.text for prompt in book.prompts for label in prompt.labels)


def test_an_answer_does_not_depend_on_its_batch(tmp_path):
    questions = [pair_instruction(["dog", "car"], 3), pair_instruction(["pizza"], 5), pair_instruction(["car"], 3)]
    together = Chat(POCKET, tmp_path / "together").ask(questions)
    alone = [Chat(POCKET, tmp_path / "alone").ask([question])[0] for question in questions]
    assert together == alone


def test_a_draw_is_repeatable_and_another_draw_is_another_answer(tmp_path):
    question = pair_instruction(["dog", "car"], 5)
    first = Chat(POCKET, tmp_path / "a").ask([question])
    assert Chat(POCKET, tmp_path / "b").ask([question]) == first
    assert Chat(POCKET, tmp_path / "b").ask([question], draw=1)[0].text != first[0].text


def test_temperature_zero_is_the_most_likely_answer(tmp_path):
    config = POCKET.model_copy(update={"temperature": 0.0})
    question = pair_instruction(["dog", "car"], 3)
    chat = Chat(config, tmp_path)
    assert chat.ask([question])[0].text == chat.ask([question], draw=1)[0].text


def test_a_folder_that_is_no_chat_model_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"prompts\.model: .*config\.json is missing or empty") as caught:
        Chat(ChatConfig(model=str(tmp_path / "empty")), tmp_path / "cache").ask(["a"])
    assert "\n" not in str(caught.value)


def test_long_instructions_name_every_label_and_the_count():
    text = scene_instruction(["dog", "traffic light"], 10)
    assert "dog and traffic light" in text
    assert "10" in text
    assert "{" not in text + scene_instruction(["dog"], 10)
