"""What users of the Anthropic SDK do, against a gateway named by ANTHROPIC_BASE_URL and
ANTHROPIC_API_KEY, with providers of both dialects behind it.

Each function is one promise; the first that is broken ends the program with a traceback.
"""

import anthropic

CLIENT = anthropic.Anthropic(max_retries=0, timeout=30)
HELLO = [{"role": "user", "content": "Say hello to the signalman."}]
MODELS = ["fake/small", "fake/claude"]
CALLERS = ["fake/caller", "fake/claude-caller"]
WEATHER = {
    "name": "weather",
    "description": "The weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city"],
    },
}


def the_models_are_listed():
    models = list(CLIENT.models.list(limit=1000))
    ids = [model.id for model in models]
    assert "claude-auto" in ids and "fake/small" in ids, ids
    assert all(model.display_name and model.created_at for model in models)
    assert CLIENT.models.retrieve("fake/small").id == "fake/small"


def an_answer_that_is_not_streamed():
    for model in ["auto", "claude-auto", *MODELS]:
        answer = CLIENT.messages.create(model=model, max_tokens=100, messages=HELLO)
        assert answer.stop_reason == "end_turn" and answer.content[-1].text, answer
        assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, answer
        assert answer._request_id, answer


def a_stream_is_put_together_by_the_helper():
    for model in MODELS:
        with CLIENT.messages.stream(model=model, max_tokens=100, messages=HELLO) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert len(text) > 20 and final.content[-1].text == text, final
        assert final.stop_reason == "end_turn" and final.usage.output_tokens > 0, final
        assert final.usage.input_tokens > 0, final


def tools_arrive_and_results_go_back():
    for model in CALLERS:
        for streamed in [False, True]:
            ask = dict(model=model, max_tokens=100, tools=[WEATHER], messages=HELLO)
            if streamed:
                with CLIENT.messages.stream(**ask) as stream:
                    answer = stream.get_final_message()
            else:
                answer = CLIENT.messages.create(**ask)
            assert answer.stop_reason == "tool_use", answer
            call = answer.content[-1]
            assert call.type == "tool_use" and call.id.startswith("toolu_"), call
            assert call.input == {"city": "Bern", "unit": "celsius"}, call
            again = CLIENT.messages.create(
                **{
                    **ask,
                    "messages": [
                        *HELLO,
                        {"role": "assistant", "content": answer.content},
                        {
                            "role": "user",
                            "content": [
                                {"type": "tool_result", "tool_use_id": call.id, "content": "sun"}
                            ],
                        },
                    ],
                }
            )
            assert again.content, again


def tokens_are_counted_for_every_model():
    for model in MODELS:
        counted = CLIENT.messages.with_raw_response.count_tokens(model=model, messages=HELLO)
        assert counted.parse().input_tokens > 3
        by_provider = model.startswith("fake/claude")
        assert counted.headers["x-pointsman-count"] == ("provider" if by_provider else "estimate")


def refusals_are_the_sdks_own_errors():
    rows = [
        (anthropic.NotFoundError, dict(model="nobody", max_tokens=5, messages=HELLO)),
        (anthropic.BadRequestError, dict(model="fake/small", max_tokens=5, messages=[])),
        (anthropic.InternalServerError, dict(model="fake/broken", max_tokens=5, messages=HELLO)),
    ]
    for error, ask in rows:
        try:
            CLIENT.messages.create(**ask)
            raise AssertionError(f"{ask} was served")
        except error as met:
            assert met.body["type"] == "error" and met.body["error"]["message"], met.body
    try:
        anthropic.Anthropic(api_key="wrong", max_retries=0).messages.create(
            model="auto", max_tokens=5, messages=HELLO
        )
        raise AssertionError("a wrong key was served")
    except anthropic.AuthenticationError:
        pass


def a_stream_that_breaks_is_an_error():
    for model in ["fake/cut", "fake/claude-cut"]:
        try:
            with CLIENT.messages.stream(model=model, max_tokens=100, messages=HELLO) as stream:
                for _ in stream.text_stream:
                    pass
            raise AssertionError(f"{model}: half an answer was taken for a whole one")
        except anthropic.APIStatusError:
            pass


def a_tool_runner_goes_on_without_a_thread():
    @anthropic.beta_tool
    def weather(city: str, unit: str = "celsius") -> str:
        """The weather in a city."""
        return f"sun in {city}"

    for model in CALLERS:
        runner = CLIENT.beta.messages.tool_runner(
            model=model, max_tokens=100, tools=[weather], messages=HELLO, max_iterations=2
        )
        answers = list(runner)
        assert len(answers) == 2, answers
        assert all(answer.stop_reason == "tool_use" for answer in answers), answers


PROMISES = [
    the_models_are_listed,
    an_answer_that_is_not_streamed,
    a_stream_is_put_together_by_the_helper,
    tools_arrive_and_results_go_back,
    tokens_are_counted_for_every_model,
    refusals_are_the_sdks_own_errors,
    a_stream_that_breaks_is_an_error,
    a_tool_runner_goes_on_without_a_thread,
]

if __name__ == "__main__":
    for promise in PROMISES:
        promise()
        print(promise.__name__.replace("_", " "))
    print("all good")
