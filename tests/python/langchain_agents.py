"""What users of LangChain and LangGraph do, against a gateway named by OPENAI_BASE_URL and
OPENAI_API_KEY, ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY, with providers of both dialects behind it.

Each function is one promise; the first that is broken ends the program with a traceback.
"""

import asyncio

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel

HELLO = [SystemMessage("Be brief."), HumanMessage("How is the weather in Bern?")]
TEXT = "The sun shines in Bern."


@tool
def weather(city: str, unit: str = "celsius") -> str:
    """The weather in a city."""
    return f"sun in {city}, 21 {unit}"


class Report(BaseModel):
    """A weather report."""

    city: str
    degrees: int


def models(name):
    """The same model by each of LangChain's clients, before providers of each dialect."""
    for dialect in ["open", "claude"]:
        model = f"fake/{dialect}-{name}"
        # For another base URL than its own it asks for no usage by itself.
        yield ChatOpenAI(model=model, max_retries=0, timeout=30, stream_usage=True)
        yield ChatAnthropic(model_name=model, max_retries=0, timeout=30)


def both_ask_for_auto():
    for model in [ChatOpenAI(model="auto"), ChatAnthropic(model_name="claude-auto")]:
        answer = model.invoke(HELLO)
        assert answer.text and answer.usage_metadata["output_tokens"] > 0, answer


def an_answer_has_text_and_usage():
    for model in models("plain"):
        answer = model.invoke(HELLO)
        assert answer.text == TEXT, answer
        assert answer.usage_metadata["input_tokens"] > 0, answer
        assert answer.usage_metadata["total_tokens"] > answer.usage_metadata["input_tokens"]


def chunks_add_up_and_usage_is_counted_once():
    for model in models("plain"):
        whole = model.invoke(HELLO)
        total = None
        for chunk in model.stream(HELLO):
            total = chunk if total is None else total + chunk
        assert total.text == TEXT, total
        assert total.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"], total
        assert total.usage_metadata["input_tokens"] == whole.usage_metadata["input_tokens"], total


def tools_are_called_and_results_go_back():
    for model in models("agent"):
        caller = model.bind_tools([weather])
        asked = caller.invoke(HELLO)
        streamed = None
        for chunk in caller.stream(HELLO):
            streamed = chunk if streamed is None else streamed + chunk
        for answer in [asked, streamed]:
            call = answer.tool_calls[0]
            assert call["name"] == "weather", answer
            assert call["args"] == {"city": "Bern", "unit": "celsius"}, answer
            result = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
            assert caller.invoke([*HELLO, answer, result]).text == TEXT


def calls_side_by_side_keep_their_order():
    for model in models("two"):
        answer = model.bind_tools([weather]).invoke(HELLO)
        assert [call["args"]["city"] for call in answer.tool_calls] == ["Bern", "Chur"], answer
        assert len({call["id"] for call in answer.tool_calls}) == 2, answer


def an_answer_follows_a_schema():
    for model in models("json"):
        ways = ["json_schema"] if isinstance(model, ChatAnthropic) else ["json_schema", "json_mode"]
        for way in ways:
            report = model.with_structured_output(Report, method=way).invoke(HELLO)
            assert report == Report(city="Bern", degrees=21), report


def an_agent_takes_its_turns():
    for make in [create_agent, create_react_agent]:
        for model in models("agent"):
            end = make(model, [weather]).invoke({"messages": HELLO})
            kinds = [message.type for message in end["messages"]]
            assert kinds == ["system", "human", "ai", "tool", "ai"], kinds
            assert end["messages"][-1].text == TEXT, end
            assert "21 celsius" in end["messages"][-2].text, end


def an_agent_streams_its_tokens():
    async def said(model):
        agent = create_agent(model, [weather])
        text = ""
        async for chunk, _ in agent.astream({"messages": HELLO}, stream_mode="messages"):
            if chunk.type == "AIMessageChunk":
                text += chunk.text
        return text

    async def all_of_them():
        return [await said(model) for model in models("agent")]

    for text in asyncio.run(all_of_them()):
        assert text.count(TEXT) == 2, text


def one_history_goes_to_models_of_every_provider():
    history = [SystemMessage("Be brief.")]
    for model in [*models("two"), *models("agent"), *models("plain")]:
        history.append(HumanMessage("And now?"))
        answer = model.bind_tools([weather]).invoke(history)
        history.append(answer)
        for call in answer.tool_calls:
            history.append(ToolMessage("sun", tool_call_id=call["id"]))
        if answer.tool_calls:
            history.append(model.bind_tools([weather]).invoke(history))
    assert history[-1].text == TEXT, history


PROMISES = [
    both_ask_for_auto,
    an_answer_has_text_and_usage,
    chunks_add_up_and_usage_is_counted_once,
    tools_are_called_and_results_go_back,
    calls_side_by_side_keep_their_order,
    an_answer_follows_a_schema,
    an_agent_takes_its_turns,
    an_agent_streams_its_tokens,
    one_history_goes_to_models_of_every_provider,
]

if __name__ == "__main__":
    for promise in PROMISES:
        promise()
        print(promise.__name__.replace("_", " "))
    print("all good")
