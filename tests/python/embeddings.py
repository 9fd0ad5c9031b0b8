"""What users of embeddings do, against a gateway named by OPENAI_BASE_URL and OPENAI_API_KEY.

Each function is one promise; the first that is broken ends the program with a traceback.
"""

import os

import openai
from google import genai
from google.genai import types

CLIENT = openai.OpenAI(max_retries=0, timeout=30)
# Of OpenAI's dialect, and of Gemini's, which is translated.
MODELS = ["fake/small", "fake/gemini"]
GOOGLE = genai.Client(
    api_key=os.environ["OPENAI_API_KEY"],
    http_options=types.HttpOptions(base_url=os.environ["OPENAI_BASE_URL"].removesuffix("/v1")),
)


def number(index, place):
    """What the scripted providers give."""
    return ((index * 7 + place * 3) % 128 - 64) / 64


def vectors_come_in_order_in_the_sdks_own_form():
    # The SDK asks for Base64 by itself and unpacks it.
    for model in MODELS:
        answer = CLIENT.embeddings.create(model=model, input=["one", "two", "three"])
        assert [row.index for row in answer.data] == [0, 1, 2], answer
        for row in answer.data:
            assert row.embedding == [number(row.index, place) for place in range(8)], (model, row)
        assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0, answer.usage


def a_single_text_is_a_list_of_one():
    for model in MODELS:
        answer = CLIENT.embeddings.create(model=model, input="one")
        assert len(answer.data) == 1 and len(answer.data[0].embedding) == 8, answer


def numbers_and_lengths_are_as_asked_for():
    for model in MODELS:
        answer = CLIENT.embeddings.create(
            model=model, input=["a \"quoted\" text\n", "\u6c34\U0001f600"], dimensions=12, encoding_format="float"
        )
        for row in answer.data:
            assert row.embedding == [number(row.index, place) for place in range(12)], (model, row)


def token_ids_go_to_models_that_read_them():
    # LangChain's OpenAIEmbeddings sends these.
    answer = CLIENT.embeddings.create(model="fake/small", input=[[9906, 1917], [15339]])
    assert len(answer.data) == 2, answer
    refused(openai.BadRequestError, "unsupported_value", "input", "fake/gemini", [[9906, 1917]])


def errors_are_those_that_the_sdk_knows():
    refused(openai.BadRequestError, "unsupported_value", "model", "auto", "one")
    refused(openai.NotFoundError, "model_not_found", "model", "none/such", "one")
    refused(openai.BadRequestError, "invalid_value", "input", "fake/small", [])


def refused(kind, code, param, model, texts):
    try:
        CLIENT.embeddings.create(model=model, input=texts)
    except kind as error:
        assert (error.code, error.param) == (code, param), error.body
        assert len(error.message) > 10
    else:
        raise AssertionError(f"{kind.__name__} was expected")


def googles_sdk_gets_vectors_from_either_kind_of_provider():
    # Of plain texts the SDK makes one content for newer models, and so one vector.
    contents = [types.Content(role="user", parts=[types.Part(text=text)]) for text in ["one", "two"]]
    for model in MODELS:
        answer = GOOGLE.models.embed_content(
            model=model,
            contents=contents,
            config=types.EmbedContentConfig(output_dimensionality=6, task_type="RETRIEVAL_QUERY"),
        )
        found = [vector.values for vector in answer.embeddings]
        assert found == [[number(i, place) for place in range(6)] for i in range(2)], (model, found)
    try:
        GOOGLE.models.embed_content(model="auto", contents="one")
    except genai.errors.ClientError as error:
        assert (error.code, error.status) == (400, "INVALID_ARGUMENT"), error
    else:
        raise AssertionError("a refusal was expected")


PROMISES = [
    vectors_come_in_order_in_the_sdks_own_form,
    a_single_text_is_a_list_of_one,
    numbers_and_lengths_are_as_asked_for,
    token_ids_go_to_models_that_read_them,
    errors_are_those_that_the_sdk_knows,
    googles_sdk_gets_vectors_from_either_kind_of_provider,
]

if __name__ == "__main__":
    for promise in PROMISES:
        promise()
        print(promise.__name__.replace("_", " "))
    print("all good")
