"""What users of the OpenAI SDK do with a model whose provider speaks Anthropic messages, against a
gateway named by OPENAI_BASE_URL and OPENAI_API_KEY.

Each function is one promise; the first that is broken ends the program with a traceback.
"""

import json

import openai

CLIENT = openai.OpenAI(max_retries=0, timeout=30)
ASK = CLIENT.chat.completions.create
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather?"}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def an_answer_that_is_not_streamed():
    answer = ASK(model="fake/claude", messages=HELLO)
    assert answer.choices[0].finish_reason == "stop" and answer.choices[0].message.content, answer
    assert answer.model == "fake/claude" and answer.usage.total_tokens > 0, answer


def a_stream_has_usage_when_asked_for():
    for wanted in [False, True]:
        options = {"stream_options": {"include_usage": True}} if wanted else {}
        chunks = list(ASK(model="fake/claude", messages=HELLO, stream=True, **options))
        assert len({chunk.id for chunk in chunks}) == 1, chunks
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert len(text) > 20, text
        finishes = [c.choices[0].finish_reason for c in chunks if c.choices]
        assert finishes[-1] == "stop" and set(finishes[:-1]) == {None}, finishes
        assert bool(chunks[-1].usage) == wanted, chunks[-1]


def the_helper_puts_a_stream_together():
    with CLIENT.chat.completions.stream(
        model="fake/claude-caller", messages=HELLO, tools=[WEATHER]
    ) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_completion()
    call = answer.choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "Bern", "unit": "celsius"}, call


def results_of_tools_go_back():
    answer = ASK(model="fake/claude-caller", messages=HELLO, tools=[WEATHER])
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls", answer
    assert choice.message.reasoning_content, "thinking is shown to who reads it"
    result = {"role": "tool", "tool_call_id": choice.message.tool_calls[0].id, "content": "rain"}
    for model in ["fake/claude-caller", "fake/caller"]:
        after = [*HELLO, choice.message.model_dump(exclude_none=True), result]
        assert ASK(model=model, messages=after, tools=[WEATHER]).choices


def a_stream_that_breaks_is_an_error():
    try:
        list(ASK(model="fake/claude-cut", messages=HELLO, stream=True))
    except openai.APIError as error:
        assert "broke off" in error.message, error
    else:
        raise AssertionError("half an answer was taken for a whole one")


PROMISES = [
    an_answer_that_is_not_streamed,
    a_stream_has_usage_when_asked_for,
    the_helper_puts_a_stream_together,
    results_of_tools_go_back,
    a_stream_that_breaks_is_an_error,
]

if __name__ == "__main__":
    for promise in PROMISES:
        promise()
        print(promise.__name__.replace("_", " "))
    print("all good")
