"""What users of Google's SDK do, against a gateway named by GOOGLE_GEMINI_BASE_URL and GEMINI_API_KEY,
with providers of every dialect behind it.

Each function is one promise; the first that is broken ends the program with a traceback.
"""

import asyncio
import os

from google import genai
from google.genai import errors, types

CLIENT = genai.Client(
    api_key=os.environ["GEMINI_API_KEY"],
    http_options=types.HttpOptions(
        base_url=os.environ["GOOGLE_GEMINI_BASE_URL"], timeout=30_000
    ),
)
HELLO = "Say hello to the signalman."
MODELS = ["fake/open", "fake/claude", "fake/gemini", "fake/responses"]
CALLERS = [f"{model}-caller" for model in MODELS]
WEATHER = {
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "OBJECT",
        "properties": {"city": {"type": "STRING"}, "unit": {"type": "STRING"}},
        "required": ["city"],
    },
}


def the_models_are_listed():
    names = [model.name for model in CLIENT.models.list()]
    assert "models/auto" in names and "models/fake/open" in names, names
    model = CLIENT.models.get(model="fake/open")
    assert model.name == "models/fake/open" and model.input_token_limit > 0, model


def an_answer_that_is_not_streamed():
    for model in ["auto", *MODELS]:
        answer = CLIENT.models.generate_content(model=model, contents=HELLO)
        assert len(answer.text) > 20, answer
        assert answer.candidates[0].finish_reason == types.FinishReason.STOP, answer
        usage = answer.usage_metadata
        assert usage.prompt_token_count > 0 and usage.candidates_token_count > 0, usage
        assert answer.model_version and answer.response_id, answer


def a_stream_says_the_same():
    for model in MODELS:
        chunks = list(CLIENT.models.generate_content_stream(model=model, contents=HELLO))
        text = "".join(chunk.text or "" for chunk in chunks)
        whole = CLIENT.models.generate_content(model=model, contents=HELLO)
        assert text == whole.text, (text, whole.text)
        finishes = [c.candidates[0].finish_reason for c in chunks if c.candidates]
        assert finishes[-1] == types.FinishReason.STOP and not any(finishes[:-1]), finishes
        assert chunks[-1].usage_metadata.candidates_token_count > 0, chunks[-1]


def a_stream_without_waiting():
    async def run():
        stream = await CLIENT.aio.models.generate_content_stream(
            model="fake/claude", contents=HELLO
        )
        return "".join([chunk.text or "" async for chunk in stream])

    assert len(asyncio.run(run())) > 20


def calls_arrive_and_results_go_back():
    for model in CALLERS:
        config = types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[WEATHER])],
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            max_output_tokens=500,
        )
        for streamed in [False, True]:
            ask = dict(model=model, contents=HELLO, config=config)
            if streamed:
                chunks = list(CLIENT.models.generate_content_stream(**ask))
                parts = [
                    part
                    for chunk in chunks
                    for part in (chunk.candidates[0].content.parts or [])
                    if part.function_call
                ]
            else:
                answer = CLIENT.models.generate_content(**ask)
                parts = [p for p in answer.candidates[0].content.parts if p.function_call]
            assert len(parts) == 1, parts
            assert parts[0].function_call.name == "weather", parts
            assert parts[0].function_call.args == {"city": "Bern", "unit": "celsius"}, parts
            result = types.Part.from_function_response(name="weather", response={"result": "sun"})
            history = [
                types.UserContent(HELLO),
                types.Content(role="model", parts=parts),
                types.Content(role="user", parts=[result]),
            ]
            again = CLIENT.models.generate_content(model=model, contents=history, config=config)
            assert again.candidates, again


def python_functions_are_called():
    said = []

    def weather(city: str, unit: str) -> str:
        """The weather in a city."""
        said.append((city, unit))
        return "sun"

    for model in CALLERS:
        said.clear()
        config = types.GenerateContentConfig(
            tools=[weather],
            automatic_function_calling=types.AutomaticFunctionCallingConfig(maximum_remote_calls=2),
        )
        CLIENT.models.generate_content(model=model, contents=HELLO, config=config)
        assert said and set(said) == {("Bern", "celsius")}, said


def a_conversation_goes_on():
    for model in MODELS:
        chat = CLIENT.chats.create(
            model=model, config=types.GenerateContentConfig(system_instruction="Be brief.")
        )
        assert chat.send_message(HELLO).text
        assert "".join(chunk.text or "" for chunk in chat.send_message_stream("And again?"))
        assert len(chat.get_history()) >= 4, chat.get_history()


def settings_and_pictures_are_taken():
    picture = types.Part.from_bytes(data=bytes(range(250, 256)) * 5, mime_type="image/png")
    config = types.GenerateContentConfig(
        temperature=0.5,
        top_p=0.9,
        stop_sequences=["END"],
        seed=7,
        max_output_tokens=100,
        response_mime_type="application/json",
        response_schema={"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
        safety_settings=[
            types.SafetySetting(
                category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_ONLY_HIGH"
            )
        ],
    )
    for model in MODELS:
        answer = CLIENT.models.generate_content(
            model=model, contents=[picture, "What is this?"], config=config
        )
        assert answer.text, answer


def tokens_are_counted():
    count = CLIENT.models.count_tokens(model="auto", contents=HELLO * 10)
    assert 40 < count.total_tokens < 200, count


def errors_are_those_of_google():
    def fails(code, status, ask):
        try:
            ask()
        except errors.APIError as error:
            assert (error.code, error.status) == (code, status), error
            return
        raise AssertionError("there should have been an error")

    generate = CLIENT.models.generate_content
    fails(404, "NOT_FOUND", lambda: generate(model="nobody", contents=HELLO))
    fails(502, "UNAVAILABLE", lambda: generate(model="fake/broken", contents=HELLO))
    stranger = genai.Client(
        api_key="pm-unknown",
        http_options=types.HttpOptions(base_url=os.environ["GOOGLE_GEMINI_BASE_URL"]),
    )
    fails(
        401,
        "UNAUTHENTICATED",
        lambda: stranger.models.generate_content(model="auto", contents=HELLO),
    )


def a_cut_stream_is_an_error():
    for model in [f"{model}-cut" for model in MODELS]:
        text = ""
        try:
            for chunk in CLIENT.models.generate_content_stream(model=model, contents=HELLO):
                text += chunk.text or ""
        except errors.APIError as error:
            assert error.code == 502 and text, (error, text)
        else:
            raise AssertionError("a cut stream looked whole")


PROMISES = [
    the_models_are_listed,
    an_answer_that_is_not_streamed,
    a_stream_says_the_same,
    a_stream_without_waiting,
    calls_arrive_and_results_go_back,
    python_functions_are_called,
    a_conversation_goes_on,
    settings_and_pictures_are_taken,
    tokens_are_counted,
    errors_are_those_of_google,
    a_cut_stream_is_an_error,
]

if __name__ == "__main__":
    for promise in PROMISES:
        promise()
        print(f"{promise.__name__}: good")
    print("all good")
