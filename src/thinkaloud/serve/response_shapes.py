"""The body of /v1/responses: OpenAI's newer shape, of items instead of messages. Knows names, types, ranges only."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from thinkaloud.serve.shapes import Count, Effort, History, Name, Seed, Shape, Text, Unused


class Said(Shape):
    """A message; one of an assistant's may come back as it was given."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Text]
    id: str | None = None
    status: str | None = None
    phase: Unused = None


class Thought(Shape):
    """A thought that is given back."""

    type: Literal["reasoning"]
    summary: list[Any] = []
    content: list[Any] | None = None
    id: str | None = None
    status: str | None = None
    encrypted_content: Unused = None


class Asked(Shape):
    """A call that the model has made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None
    namespace: Unused = None
    caller: Unused = None


class Result(Shape):
    """What that call gave."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Text]
    id: str | None = None
    status: str | None = None


KINDS = {"message": "Said", "reasoning": "Thought", "function_call": "Asked", "function_call_output": "Result"}
"The shape of each type of item."


def _shape_of(item: Any) -> str | None:
    kind = item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", None)
    return KINDS.get(kind) if isinstance(kind, str) else None


Item = Annotated[
    Annotated[Said, Tag("Said")]
    | Annotated[Thought, Tag("Thought")]
    | Annotated[Asked, Tag("Asked")]
    | Annotated[Result, Tag("Result")],
    Discriminator(
        _shape_of, custom_error_type="no_item", custom_error_message=f"an item's type is one of {', '.join(KINDS)}"
    ),
]


class FunctionTool(Shape):
    """A tool that the model may ask for."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionChoice(Shape):
    """The one tool that must be called."""

    type: Literal["function"]
    name: str


class Reasoning(Shape):
    """How much to think, and what is told of it."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    "concise is the last line of the thought, auto and detailed the whole of it."
    generate_summary: Unused = None
    context: Unused = None
    mode: Unused = None


class TextFormat(Shape):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextSettings(Shape):
    """How the answer is written."""

    format: TextFormat | None = None
    verbosity: Unused = None


class ResponseBody(Shape):
    """/v1/responses."""

    input: str | Annotated[list[Item], Field(min_length=1)]
    "A question, or items: messages, thoughts, calls and their results."
    model: str | None = None
    instructions: str | None = None
    "What the system says."
    stream: bool | None = None
    max_output_tokens: Count | None = None
    "Most tokens of thought and answer."
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Seed | None = None
    "Ours: the same seed gives the same reply."
    reasoning: Reasoning | None = None
    text: TextSettings | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    thinking_budget: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    "Ours: most tokens of the thought."
    max_accuracy_loss: Annotated[float, Field(ge=0, le=1)] | None = None
    "Ours: how much accuracy may be given away for a shorter thought."
    history: History | None = None
    "Ours: which earlier thoughts the model sees."
    previous_response_id: str | None = None
    "Goes on from that response, if it was stored."
    conversation: None = None
    prompt: None = None
    background: Literal[False] | None = None
    store: bool | None = None
    "Whether the response is kept for later ones, in this server's memory; yes by default."
    metadata: dict[str, str] | None = None
    "Comes back as it is."
    include: Unused = None
    user: Unused = None
    truncation: Unused = None
    service_tier: Unused = None
    max_tool_calls: Unused = None
    top_logprobs: Unused = None
    stream_options: Unused = None
    moderation: Unused = None
    safety_identifier: Unused = None
    prompt_cache_key: Unused = None
    prompt_cache_retention: Unused = None
    prompt_cache_options: Unused = None
    access_programs: Unused = None
    background_options: Unused = None
    context_management: Unused = None
