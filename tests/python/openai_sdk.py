"""What users of the OpenAI SDK do, against a gateway named by OPENAI_BASE_URL and OPENAI_API_KEY.

Each function is one promise; the first that is broken ends the program with a traceback.
"""

import base64
import json
import struct
import zlib

import openai

CLIENT = openai.OpenAI(max_retries=0, timeout=30)
HELLO = [{"role": "user", "content": "Say hello to the signalman."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def the_models_are_listed():
    ids = [model.id for model in CLIENT.models.list()]
    assert "auto" in ids and "fake/small" in ids, ids
    assert CLIENT.models.retrieve("fake/small").id == "fake/small"


def auto_streams_and_says_who_served():
    with CLIENT.chat.completions.with_streaming_response.create(
        model="auto", messages=HELLO, stream=True
    ) as raw:
        assert raw.headers["x-pointsman-model"].startswith("fake/"), raw.headers
        assert raw.headers["x-pointsman-provider"] == "fake"
        assert len(raw.headers["x-pointsman-decision-id"]) == 32
        assert raw.headers["x-pointsman-task"]
        chunks = list(raw.parse())
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert len(text) > 20, text
    assert chunks[-1].choices[0].finish_reason == "stop", chunks[-1]
    assert all(c.usage is None for c in chunks), "usage was not asked for"


def a_stream_has_usage_when_asked_for():
    chunks = list(
        CLIENT.chat.completions.create(
            model="fake/small", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0, chunks[-1]


def an_answer_that_is_not_streamed():
    for model in ["auto", "auto:cost", "auto:quality", "auto:latency", "fake/large"]:
        answer = CLIENT.chat.completions.create(model=model, messages=HELLO)
        choice = answer.choices[0]
        assert choice.finish_reason == "stop" and choice.message.content, answer
        assert answer.usage.total_tokens > 0, answer


def every_strategy_is_followed():
    def served(strategy):
        raw = CLIENT.chat.completions.with_raw_response.create(
            model="auto", messages=HELLO, extra_headers={"x-pointsman-strategy": strategy}
        )
        return raw.headers["x-pointsman-strategy"]

    for strategy in ["cost", "quality", "latency", "balanced"]:
        assert served(strategy) == strategy


def tools_arrive_and_calls_come_back():
    def calls(stream):
        arguments, names = {}, {}
        for chunk in stream:
            for call in chunk.choices[0].delta.tool_calls or [] if chunk.choices else []:
                names[call.index] = call.function.name or names.get(call.index)
                arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
        return [(names[i], json.loads(arguments[i])) for i in sorted(names)]

    wanted = [("weather", {"city": "Bern", "unit": "celsius"})]
    question = [{"role": "user", "content": "What is the weather in Bern?"}]
    stream = CLIENT.chat.completions.create(
        model="fake/caller", messages=question, tools=[WEATHER], tool_choice="auto", stream=True
    )
    assert calls(stream) == wanted

    answer = CLIENT.chat.completions.create(model="fake/caller", messages=question, tools=[WEATHER])
    call = answer.choices[0].message.tool_calls[0]
    assert [(call.function.name, json.loads(call.function.arguments))] == wanted

    result = {"role": "tool", "tool_call_id": call.id, "content": "12 degrees, rain"}
    after = question + [answer.choices[0].message.model_dump(exclude_none=True), result]
    seen = echoed(messages=after, tools=[WEATHER])
    assert seen["tools"] == 1 and seen["tool_results"] == 1 and seen["messages"] == 3, seen
    stream = CLIENT.chat.completions.create(model="auto", messages=after, tools=[WEATHER], stream=True)
    assert list(stream)[-1].choices[0].finish_reason in ("stop", "tool_calls")


def images_arrive():
    seen = echoed(messages=[picture()])
    assert seen["images"] == 1, seen
    stream = CLIENT.chat.completions.create(model="auto", messages=[picture()], stream=True)
    assert sum(len(c.choices) for c in stream) > 1


def what_the_gateway_does_not_know_arrives_unchanged():
    seen = echoed(messages=HELLO, extra_body={"x_unknown": {"deep": [1, None]}}, seed=7)
    assert "x_unknown" in seen["fields"] and "seed" in seen["fields"], seen


def a_schema_is_passed_on():
    schema = {"name": "x", "schema": {"type": "object", "properties": {}}}
    seen = echoed(messages=HELLO, response_format={"type": "json_schema", "json_schema": schema})
    assert "response_format" in seen["fields"], seen


def errors_are_those_that_the_sdk_knows():
    stranger = CLIENT.with_options(api_key="pm-unknown")
    refused(openai.AuthenticationError, "invalid_api_key", None, lambda: stranger.models.list())
    ask = CLIENT.chat.completions.create
    refused(openai.NotFoundError, "model_not_found", "model", lambda: ask(model="none/such", messages=HELLO))
    refused(openai.NotFoundError, "model_not_found", "model", lambda: CLIENT.models.retrieve("none/such"))
    refused(openai.BadRequestError, None, "messages", lambda: ask(model="auto", messages="Hello"))
    refused(openai.BadRequestError, None, "model", lambda: ask(model=7, messages=HELLO))
    refused(
        openai.BadRequestError,
        "invalid_value",
        "x-pointsman-strategy",
        lambda: ask(model="auto", messages=HELLO, extra_headers={"x-pointsman-strategy": "cheap"}),
    )


def refused(kind, code, param, action):
    try:
        action()
    except kind as error:
        assert code is None or error.code == code, error.body
        assert error.param == param, error.body
        assert len(error.message) > 10
    else:
        raise AssertionError(f"{kind.__name__} was expected")


def echoed(**request):
    """What the provider saw of a request."""
    answer = CLIENT.chat.completions.create(model="fake/echo", **request)
    return json.loads(answer.choices[0].message.content)


def picture():
    """A message with a real, if small, picture."""

    def part(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\xff\0\0\0\xff\0" * 2)
    png = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", pixels) + part(b"IEND", b"")
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    return {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is on this picture?"},
            {"type": "image_url", "image_url": {"url": url}},
        ],
    }


PROMISES = [
    the_models_are_listed,
    auto_streams_and_says_who_served,
    a_stream_has_usage_when_asked_for,
    an_answer_that_is_not_streamed,
    every_strategy_is_followed,
    tools_arrive_and_calls_come_back,
    images_arrive,
    what_the_gateway_does_not_know_arrives_unchanged,
    a_schema_is_passed_on,
    errors_are_those_that_the_sdk_knows,
]

if __name__ == "__main__":
    for promise in PROMISES:
        promise()
        print(promise.__name__.replace("_", " "))
    print("all good")
