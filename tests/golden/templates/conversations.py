"""The variables that the templates of these tests are rendered with: what a chat template may meet."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "A town, e.g. \"Köln\""},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": ["integer", "null"], "description": "How many days ahead"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
                          "required": ["lat"]},
            },
            "required": ["place"],
        },
        "return": {"type": "string", "description": "The weather"},
    },
}

CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "Tells the time.",
        "parameters": {"type": "object", "properties": {}},
    },
}


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, call_id):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


SYSTEM = message("system", "You are terse.\nAlways.")
HELLO = message("user", "Hello, who are you?")
ANSWER = message("assistant", "I am a test.")
AGAIN = message("user", "Say \"42\" & <tags>.")

TALK = [SYSTEM, HELLO, ANSWER, AGAIN]

# Nine characters, letters and digits: what Mistral's templates insist on.
CALLED = [
    SYSTEM,
    message("user", "What is the weather in Köln?"),
    message("assistant", "", tool_calls=[call("get_weather", {"place": "Köln", "days": 2, "where": {"lat": 50.94}},
                                              "call00001")]),
    message("tool", "{\"sky\": \"grey\"}", name="get_weather", tool_call_id="call00001"),
    message("assistant", "Grey."),
    message("user", "And the time?"),
]


def conversation(messages, generation=True, **more):
    context = {
        "messages": messages,
        "add_generation_prompt": generation,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "tools": None,
        "documents": None,
    }
    context.update(more)
    return context


CONTEXTS = {
    "hello": conversation([HELLO]),
    "system": conversation([SYSTEM, HELLO]),
    "talk": conversation(TALK),
    "whole": conversation([SYSTEM, HELLO, ANSWER], generation=False),
    "blanks": conversation([message("system", "  a \n"), message("user", "\n\n b\t \u00a0"),
                            message("assistant", " c "), message("user", "")]),
    "unicode": conversation([message("user", "Grüße, 世界! \U0001f600 e\u0301 \u2028 {{ x }} {% y %} \\n 'q' <|im_end|>")]),
    "odd_order": conversation([HELLO, AGAIN, ANSWER, ANSWER], generation=False),
    "system_late": conversation([HELLO, ANSWER, SYSTEM, AGAIN]),
    "nothing": conversation([]),
    "tools": conversation([SYSTEM, HELLO], tools=[WEATHER, CLOCK]),
    "tools_alone": conversation([HELLO], tools=[CLOCK]),
    "called": conversation(CALLED, tools=[WEATHER, CLOCK]),
    "called_last": conversation(CALLED[:4], tools=[WEATHER, CLOCK]),
    "called_as_text": conversation(
        CALLED[:2] + [message("assistant", None, tool_calls=[call("clock", "{\"zone\": \"UTC\"}", "call00002")]),
                      message("tool", "12:00", tool_call_id="call00002")], tools=[CLOCK]),
    "called_twice": conversation(
        [HELLO, message("assistant", "Looking.", tool_calls=[call("clock", {}, "call00003"),
                                                             call("get_weather", {"place": "Ulm"}, "call00004")]),
         message("tool", "12:00", tool_call_id="call00003", name="clock"),
         message("tool", "fair", tool_call_id="call00004", name="get_weather")], tools=[WEATHER, CLOCK]),
    "thought": conversation(
        [HELLO, message("assistant", "<think>\nHm.\n</think>\n\nYes.", reasoning_content="Hm."), AGAIN]),
    "thought_last": conversation(
        [HELLO, message("assistant", "Yes.", reasoning_content="Hm.", thinking="Hm.")], generation=False),
    "thinking_off": conversation([SYSTEM, HELLO], enable_thinking=False, thinking=False, reasoning_effort="low"),
    "thinking_on": conversation([SYSTEM, HELLO], enable_thinking=True, thinking=True, reasoning_effort="high"),
    "parts": conversation([message("user", [{"type": "text", "text": "Look:"}, {"type": "image"},
                                            {"type": "text", "text": "nice?"}])]),
    "documents": conversation(
        [HELLO], documents=[{"title": "One", "text": "First text."}, {"title": "Two", "text": "Second."}]),
}
