"""What users of the OpenAI SDK do with responses, against a gateway named by OPENAI_BASE_URL and
OPENAI_API_KEY. The models are arguments; each is served by a provider of another dialect.

Each function is one promise; the first that is broken ends the program with a traceback.
"""

import json
import sys

import openai
import pydantic

CLIENT = openai.OpenAI(max_retries=0, timeout=30)
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Signal(pydantic.BaseModel):
    name: str
    is_green: bool


def a_plain_answer(lab):
    raw = CLIENT.responses.with_raw_response.create(
        model=f"{lab}/small", input="Say hello.", instructions="Be brief.", max_output_tokens=200
    )
    assert raw.headers["x-pointsman-model"] == f"{lab}/small"
    answer = raw.parse()
    assert answer.status == "completed" and answer.output_text.startswith("[0] "), answer
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    assert answer.store is False and answer.error is None


def a_stream(lab):
    events = list(CLIENT.responses.create(model=f"{lab}/small", input="Say hello.", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == events[-1].response.output_text and len(text) > 20, text
    # The helper keeps its own picture of the response, and fails when an event does not fit into it.
    with CLIENT.responses.stream(model=f"{lab}/thinker", input="Say hello.") as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert "response.reasoning_summary_text.delta" in kinds, kinds
    assert [item.type for item in final.output] == ["reasoning", "message"], final


def tools_are_called_and_their_results_come_back(lab):
    question = [{"role": "user", "content": "What is the weather in Bern?"}]
    with CLIENT.responses.stream(model=f"{lab}/caller", input=question, tools=[WEATHER]) as stream:
        streamed = stream.get_final_response()
    whole = CLIENT.responses.create(model=f"{lab}/caller", input=question, tools=[WEATHER])
    for answer in [streamed, whole]:
        calls = [item for item in answer.output if item.type == "function_call"]
        wanted = {"city": "Bern", "unit": "celsius"}
        assert [(c.name, json.loads(c.arguments)) for c in calls] == [("weather", wanted)], answer
        history = question + [item.model_dump(exclude_none=True) for item in answer.output]
        result = {"type": "function_call_output", "call_id": calls[0].call_id, "output": "rain"}
        seen = CLIENT.responses.create(
            model=f"{lab}/echo", input=history + [result], tools=[WEATHER]
        )
        seen = json.loads(seen.output_text)
        assert seen["tools"] == 1 and seen["tool_results"] == 1, seen


def an_answer_is_parsed(lab):
    answer = CLIENT.responses.parse(
        model=f"{lab}/signal", input="How does it stand?", text_format=Signal
    )
    assert answer.output_parsed == Signal(name="north", is_green=True), answer
    seen = CLIENT.responses.create(
        model=f"{lab}/echo",
        input="x",
        text={"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}},
    )
    assert {"text", "response_format", "output_config"} & set(json.loads(seen.output_text)["fields"])


def auto_chooses(lab):
    answer = CLIENT.responses.create(model="auto", input="Say hello.")
    assert answer.status == "completed", answer


def what_is_not_kept_is_refused(lab):
    for more in [{"previous_response_id": "resp_1"}, {"background": True}]:
        try:
            CLIENT.responses.create(model=f"{lab}/small", input="x", **more)
        except openai.BadRequestError as error:
            assert error.param == next(iter(more)), error.body
        else:
            raise AssertionError(f"{more} was taken")


def a_stream_that_breaks_says_so(lab):
    events = list(CLIENT.responses.create(model=f"{lab}/cut", input="x", stream=True))
    assert events[-1].type == "response.failed", events[-1]
    assert events[-1].response.error.code.startswith("upstream_"), events[-1]


PROMISES = [
    a_plain_answer,
    a_stream,
    tools_are_called_and_their_results_come_back,
    an_answer_is_parsed,
    auto_chooses,
    what_is_not_kept_is_refused,
    a_stream_that_breaks_says_so,
]

if __name__ == "__main__":
    for lab in sys.argv[1:]:
        for promise in PROMISES:
            promise(lab)
            print(lab, promise.__name__.replace("_", " "))
    print("all good")
