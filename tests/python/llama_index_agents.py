"""What users of LlamaIndex do, against a gateway named by OPENAI_BASE_URL and OPENAI_API_KEY,
ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY, with providers of both dialects behind it.

Each function is one promise; the first that is broken ends the program with a traceback.
"""

import asyncio
import os

from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai_like import OpenAILike

HELLO = [
    ChatMessage(role="system", content="Be brief."),
    ChatMessage(role="user", content="How is the weather in Bern?"),
]
TEXT = "The sun shines in Bern."


def weather(city: str, unit: str = "celsius") -> str:
    """The weather in a city."""
    return f"sun in {city}, 21 {unit}"


def open_like(model):
    return OpenAILike(
        model=model,
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=128_000,
        max_retries=0,
    )


def models(name):
    """The same model before providers of each dialect."""
    for dialect in ["open", "claude"]:
        yield open_like(f"fake/{dialect}-{name}")


def both_ask_for_auto():
    # Its Anthropic client takes only names that it knows. This one is an alias at the gateway.
    known = Anthropic(model="claude-haiku-4-5", max_tokens=200, max_retries=0)
    for model in [open_like("auto"), known]:
        answer = model.chat(HELLO).message
        assert TEXT in str(answer), answer
        pieces = [piece.delta or "" for piece in model.stream_chat(HELLO)]
        assert TEXT in "".join(pieces), pieces


def an_answer_comes_whole_and_in_pieces():
    for model in models("plain"):
        assert model.chat(HELLO).message.content == TEXT
        pieces = [piece.delta for piece in model.stream_chat(HELLO)]
        assert "".join(piece or "" for piece in pieces) == TEXT and len(pieces) > 3, pieces
        assert model.complete("How is the weather?").text == TEXT


def tools_are_called():
    tool = FunctionTool.from_defaults(weather)
    for model in models("agent"):
        asked = model.chat_with_tools([tool], chat_history=HELLO)
        streamed = None
        for streamed in model.stream_chat_with_tools([tool], chat_history=HELLO):
            pass
        for answer in [asked, streamed]:
            calls = model.get_tool_calls_from_response(answer)
            assert [call.tool_name for call in calls] == ["weather"], answer
            assert calls[0].tool_kwargs == {"city": "Bern", "unit": "celsius"}, answer


def an_agent_takes_its_turns():
    async def ask(model):
        agent = FunctionAgent(tools=[weather], llm=model, system_prompt="Be brief.")
        run = agent.run("How is the weather in Bern?")
        streamed = ""
        async for event in run.stream_events():
            if isinstance(event, AgentStream):
                streamed += event.delta or ""
        return str(await run), streamed

    for model in models("agent"):
        answer, streamed = asyncio.run(ask(model))
        assert answer == TEXT, answer
        assert streamed.count(TEXT) == 2, streamed


PROMISES = [
    both_ask_for_auto,
    an_answer_comes_whole_and_in_pieces,
    tools_are_called,
    an_agent_takes_its_turns,
]

if __name__ == "__main__":
    for promise in PROMISES:
        promise()
        print(promise.__name__.replace("_", " "))
    print("all good")
