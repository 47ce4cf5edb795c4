"""A chat server that misbehaves, on the loopback: one sentence, in time, without the key, and what came is kept."""

import http.server
import json
import os
import threading
import time

import pytest
from pydantic import ValidationError

from figment.errors import InputError
from figment.ops.environment import ROOT
from figment.prompts.chat import Chat, ChatConfig

KEY = "s3cr3t-k3y-0f-th15-h05t"
GOOD = {"choices": [{"message": {"content": "A dog."}, "finish_reason": "stop"}]}
OK, ERROR = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 500 Internal Server Error\r\n"
REFUSED = b"HTTP/1.1 401 Unauthorized\r\n"


def whole(body, head=OK) -> list:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [head + b"Content-Length: %d\r\n\r\n" % len(data) + data]


def said(**message) -> list:
    finish = message.pop("finish", "stop")
    return whole({"choices": [{"message": message, "finish_reason": finish}]})


def drip(start: bytes, piece: bytes) -> list:
    """``start``, then ``piece`` again and again, each sooner than any timeout of a single read."""
    return [start, *[0.05, piece] * 1000]


@pytest.fixture
def server(monkeypatch):
    """Sends the pieces of ``server.script`` (a number: seconds to wait) to each request, or what it returns for the body."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SOME_KEY", KEY)
    stop = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            httpd.bodies.append(body)
            httpd.paths.append(self.path)
            try:
                for piece in httpd.script(body) if callable(httpd.script) else httpd.script:
                    if isinstance(piece, bytes):
                        self.wfile.write(piece)
                    elif stop.wait(piece):
                        return
            except OSError:
                pass

        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.script, httpd.bodies, httpd.paths = whole(GOOD), [], []
    httpd.url = f"http://127.0.0.1:{httpd.server_port}/v1"
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd
    stop.set()
    httpd.shutdown()
    httpd.server_close()


def ask(server, folder, question="a", **settings) -> str:
    config = {
        "model": "m", "base_url": server.url, "api_key_variable": "SOME_KEY", "timeout_seconds": 0.4,
        "attempts": 2, "backoff_seconds": 0.01, **settings,
    }  # fmt: skip
    return Chat(ChatConfig(**config), folder).ask([question])[0].text


def sentence(server, folder, **settings) -> str:
    """The one sentence in which the server is given up: in time, printable, without any part of the key."""
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        ask(server, folder, **settings)
    assert time.monotonic() - start < 30
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 900
    assert not [i for i in range(len(KEY) - 5) if KEY[i : i + 6] in text]
    assert not list(folder.rglob("*.json")) + list(folder.rglob("*.partial"))
    return text


SLOW = {
    "nothing": [60.0],
    "dripped status line": drip(b"HTTP/1.1 200 O", b"K"),
    "dripped headers": drip(OK, b"X-A: b\r\n"),
    "dripped header": drip(OK + b"X-A: ", b"b"),
    "dripped informational answers": drip(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "dripped body": drip(OK + b"\r\n", b" "),
    "dripped chunks": drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "dripped chunk size": drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "stall in a body": [OK + b'Content-Length: 99\r\n\r\n{"choices"', 60.0],
    "stall behind the headers": [OK + b"\r\n", 60.0],
}
SLOW_ERRORS = {
    "dripped 500": drip(ERROR + b"\r\n", b"x"),
    "dripped headers of a 500": drip(ERROR, b"X-A: b\r\n"),
    "stall in a 500": [ERROR + b"Content-Length: 99\r\n\r\nout of mem", 60.0],
    "dripped 429": drip(b"HTTP/1.1 429 Slow\r\n\r\n", b"x"),
    "stall in a 503": [b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n", 60.0],
}
GARBAGE = {
    "no HTTP": [b"SSH-2.0-OpenSSH_9.6\r\n"],
    "nothing at all": [b""],
    "half a status": [b"HTTP/1.1 2"],
    "status of letters": [b"HTTP/1.1 abc OK\r\n\r\n"],
    "huge headers": [OK + b"X-A: " + b"a" * 1_000_000 + b"\r\n\r\n"],
    "NUL in a header": [OK + b"X-A: \x00\r\n\r\n{}"],
    "two lengths": [OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"],
    "length of letters": [OK + b"Content-Length: two\r\n\r\n{}"],
    "length negative": [OK + b"Content-Length: -1\r\n\r\n{}"],
    "length too long": [OK + b"Content-Length: 9999\r\n\r\n{}"],
    "broken chunks": [OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
    "compressed": [OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00"],
    "5 MB": [OK + b"\r\n" + b" " * 5_000_000],
    "html": whole(b"<html>hello\x1b[31m\r\n</html>"),
    "not UTF-8": whole(b"\xff\xfe\x00"),
    "deep": whole(b"[" * 100_000),
    "digits": whole(b'{"choices": ' + b"9" * 5000 + b"}"),
    "NaN": whole(b'{"choices": NaN}'),
    "a list": whole([]),
    "a text": whole("abc"),
    "no choices": whole({"choices": []}),
    "choices as a dict": whole({"choices": {"0": 1}}),
    "a choice as null": whole({"choices": [None]}),
    "a message as a text": whole({"choices": [{"message": "abc"}]}),
    "content as a number": said(content=5),
    "content as a dict": said(content={"text": "a"}),
    "parts of numbers": said(content=[1, 2]),
    "an error with 200": whole({"error": {"message": f"the key {KEY} is bad"}}),
    "an error that holds half the key": whole(f'{{"error": "the key {KEY[:15]}'.encode()),
    "empty": said(content=""),
    "blank": said(content=" \n"),
    "null": said(content=None),
    "parts without text": said(content=[{"type": "image_url", "image_url": {"url": "x"}}]),
}
REFUSALS = {
    "the key": whole(f"bad key {KEY}".encode(), REFUSED),
    "half the key": whole(f"bad key {KEY[:14]}".encode(), REFUSED),
    "the key at the end of what is read": whole(b"x" * 290 + KEY.encode() * 3, REFUSED),
    "the key in JSON": whole({"error": {"message": f"Incorrect API key: {KEY}."}}, REFUSED),
    "the key with controls": whole(b"bad " + b"\x00".join(bytes([c]) for c in KEY.encode()), REFUSED),
    "controls": whole(b"bad\x1b[2J\r\n\x07key", REFUSED),
    "right to left": whole("bad \u202e key".encode(), REFUSED),
    "5 MB": [REFUSED + b"\r\n", b"x" * 5_000_000],
    "a stall": [REFUSED + b"Content-Length: 9\r\n\r\nbad", 60.0],
    "dripped": drip(REFUSED + b"\r\n", b"x"),
    "a redirect": [b"HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"],
    "a redirect to itself": [b"HTTP/1.1 302 Away\r\nLocation: /v1\r\nContent-Length: 0\r\n\r\n"],
    "a status of its own": whole(b"", b"HTTP/1.1 299 Odd\r\n"),
    "not found": whole(b"no such model", b"HTTP/1.1 404 No\r\n"),
}


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW)
def test_the_deadline_holds_however_slowly_a_server_sends(server, tmp_path, script):
    server.script = script
    start = time.monotonic()
    assert "in 2 attempts (the last gave no answer within 0.4 s)" in sentence(server, tmp_path)
    assert 0.8 <= time.monotonic() - start < 15
    assert len(server.bodies) == 2


@pytest.mark.parametrize("script", SLOW_ERRORS.values(), ids=SLOW_ERRORS)
def test_the_deadline_holds_for_errors_too(server, tmp_path, script):
    server.script = script
    start = time.monotonic()
    sentence(server, tmp_path)
    assert time.monotonic() - start < 15
    assert len(server.bodies) == 2


@pytest.mark.parametrize("script", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_asked_for_again_and_then_one_sentence(server, tmp_path, script):
    server.script = script
    assert "no usable answer in 2 attempts" in sentence(server, tmp_path, timeout_seconds=3)
    assert len(server.bodies) == 2


@pytest.mark.parametrize("script", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_one_sentence_without_the_key_and_not_asked_again(server, tmp_path, script):
    server.script = script
    assert "refused the request with" in sentence(server, tmp_path)
    assert server.paths == ["/v1/chat/completions"]


@pytest.mark.parametrize(
    "value", ["²", "٣", "-1", "1e9", "nan", "inf", "Wed, 21 Oct 2015 07:28:00 GMT", "", "x" * 9999, "0"]
)
def test_an_odd_retry_after_is_no_wait(server, tmp_path, value):
    server.script = [b"HTTP/1.1 429 Slow\r\nRetry-After: " + value.encode() + b"\r\nContent-Length: 0\r\n\r\n"]
    assert "answered 429" in sentence(server, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "", "http://", "http:///v1", "ftp://a/v1", "file:///etc", "a.b/v1", "//a/v1", "http://[::1/v1", "http://a:99999/v1",
        "http://a:b/v1", "http://a..b/v1", "http://" + "a" * 64 + ".com", "http://a/v1?key=b", "http://a/v1#b", "http://\x00/",
        "http://a\nb/v1", "http://a b/v1", "http://\u2026/", "http://a:0/v1", "http://*\u202e/",
    ],
)  # fmt: skip
def test_an_odd_address_is_refused_in_the_config(url):
    with pytest.raises(ValidationError, match="is no http") as caught:
        ChatConfig(model="m", base_url=url)
    assert len(caught.value.errors()) == 1


def test_a_password_in_the_address_is_refused_and_not_shown(server, tmp_path):
    text = sentence(server, tmp_path, base_url=server.url.replace("//", "//me:pa55word@"))
    assert "pa55word" not in text
    assert "without user" in text


@pytest.mark.parametrize("key", ["a\nb", "a\r\nX-A: b", "clé", "a\x7fb", "a\tb", "\udcff", "“key”"])
def test_an_odd_key_is_one_sentence_that_names_its_variable(server, tmp_path, monkeypatch, key):
    monkeypatch.setenv("SOME_KEY", key)
    text = sentence(server, tmp_path)
    assert "the key in SOME_KEY holds a line break or a character beyond ASCII" in text
    assert not server.bodies


@pytest.mark.parametrize("key", [f" {KEY}\n", f"{KEY}\r\n"])
def test_white_space_around_a_key_does_no_harm(server, tmp_path, monkeypatch, key):
    monkeypatch.setenv("SOME_KEY", key)
    assert ask(server, tmp_path) == "A dog."


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "a\ud83d"}, "a\ufffd"),
        ({"content": "\ude00\ud83d\ude00"}, "\ufffd\U0001f600"),
        ({"content": [{"type": "text", "text": "A "}, {"type": "text", "text": "dog."}]}, "A dog."),
        (
            {"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "A dog."}]},
            "A dog.",
        ),
        ({"content": ["A ", "dog."]}, "A dog."),
        ({"content": "A dog.", "reasoning_content": "hm", "refusal": None}, "A dog."),
    ],
    ids=["half a pair", "a pair", "parts", "thinking", "texts", "reasoning"],
)
def test_answers_of_many_forms_are_read_and_kept(server, tmp_path, message, text):
    server.script = said(**message)
    assert ask(server, tmp_path) == text
    server.script = [b""]
    assert ask(server, tmp_path) == text


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"content": None, "reasoning_content": "hm", "finish": "length"}, "raise max_new_tokens"),
        ({"content": "", "finish": "length"}, "raise max_new_tokens"),
        ({"content": "<think>A dog or a cat", "finish": "length"}, "raise max_new_tokens"),
        ({"content": [], "finish": "length"}, "raise max_new_tokens"),
        ({"content": None, "refusal": f"I can't\nhelp {KEY}."}, "refused to answer: I can't help ***."),
        ({"content": None, "finish": "content_filter"}, "finish_reason content_filter"),
        ({"content": None, "reasoning_content": "hm"}, "raise max_new_tokens if the model thinks first"),
    ],
)
def test_why_an_answer_is_empty_is_named(server, tmp_path, message, words):
    server.script = said(**message)
    text = sentence(server, tmp_path)
    assert words in text
    assert "check the server" not in text


def test_extra_fields_are_merged_and_null_removes_one(server, tmp_path):
    extra = {"max_completion_tokens": 9, "max_tokens": None, "seed": None, "top_k": 5}
    ask(server, tmp_path, extra=extra, template={"enable_thinking": False}, system="Be brief.")
    (body,) = server.bodies
    assert (body["max_completion_tokens"], body["top_k"]) == (9, 5)
    assert not {"max_tokens", "seed"} & set(body)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}]
    ask(server, tmp_path, extra=extra)  # another question, as another thing decides its answer
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "\ud800", object(), 1j, {1: 2}],
    ids=["nan", "inf", "surrogate", "object", "complex", "integer key"],
)
def test_extra_fields_that_are_no_json_are_refused_in_the_config(value):
    with pytest.raises(ValidationError):
        ChatConfig(model="m", base_url="http://a/v1", extra={"a": value})


def test_extra_fields_without_a_server_are_refused():
    with pytest.raises(ValidationError, match="give base_url too"):
        ChatConfig(model="m", extra={"a": 1})


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_knows_no_schema_is_asked_without_one_from_then_on(server, tmp_path, status):
    refused = whole(b"unknown field response_format", b"HTTP/1.1 %d No\r\n" % status)
    server.script = lambda body: refused if "response_format" in body else whole(GOOD)
    config = ChatConfig(model="m", base_url=server.url, answer_format="json", batch_size=1)
    assert [answer.text for answer in Chat(config, tmp_path).ask(["a", "b"])] == ["A dog.", "A dog."]
    assert ["response_format" in body for body in server.bodies] == [True, False, False]


def test_a_server_that_knows_schemas_is_held_to_a_list(server, tmp_path):
    assert ask(server, tmp_path, answer_format="json") == "A dog."
    assert server.bodies[0]["response_format"]["json_schema"]["schema"]["required"] == ["prompts"]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("value", ["http://[::1", "socks5://127.0.0.1:9", "gopher://a", "http://127.0.0.1:1"])
def test_an_odd_proxy_is_one_sentence(server, tmp_path, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert "chat server http://127.0.0.1" in sentence(server, tmp_path)


TEMPLATES = {
    "demands a system message": (
        "{% if messages[0].role != 'system' %}{{ raise_exception('a system message first') }}{% endif %}", {}, "without"
    ),
    "forbids a system message": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system message') }}{% endif %}", {"system": "x"}, "with"
    ),
    "divides by zero": ("{{ 1 // 0 }}", {}, "without"),
    "asks for what is not there": ("{{ nothing.at.all }}", {}, "without"),
}  # fmt: skip


@pytest.mark.parametrize(("template", "settings", "has"), TEMPLATES.values(), ids=TEMPLATES)
def test_a_local_template_that_fails_is_one_sentence(tmp_path, template, settings, has):
    text = local(tmp_path, template, **settings)
    assert f"cannot be used {has} a system message" in text
    assert "prompts.system" in text


def test_a_local_template_gets_its_variables(tmp_path):
    assert "thinking is off" in local(
        tmp_path, "{{ raise_exception('thinking is ' ~ mode) }}", template={"mode": "off"}
    )
    assert "'tokenize' is no variable" in local(tmp_path, "{{ 1 }}", template={"tokenize": False})


def local(folder, program, **settings) -> str:
    """What is said of the pocket chat model with another chat template."""
    model = folder / "model"
    model.mkdir(exist_ok=True)
    for file in (ROOT / "models/pocket/chat").iterdir():
        if not (model / file.name).exists():
            (model / file.name).symlink_to(file)
    (model / "chat_template.jinja").unlink(missing_ok=True)
    (model / "chat_template.jinja").write_text(program)
    with pytest.raises(InputError) as caught:
        Chat(ChatConfig(model=str(model), device="cpu", **settings), folder / "cache").ask(["a"])
    assert str(caught.value).isprintable()
    return str(caught.value)
