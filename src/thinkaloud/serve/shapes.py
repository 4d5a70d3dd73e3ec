"""The bodies of requests: OpenAI's fields and ours, each read by its exact type.

Knows: names, types, ranges. Doesn't know: what becomes of them. A field of OpenAI's that means nothing here is
`Unused`: it is accepted, and named in a header of the response. Any other name is refused.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Effort = Literal["none", "off", "minimal", "low", "medium", "high", "xhigh"]
History = Literal["drop", "tools", "keep"]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Unused = Annotated[Any, "unused"]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


class Shape(BaseModel):
    """Base of every shape: exact types, unknown names refused, the string under a field is its description."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @property
    def ignored(self) -> list[str]:
        """The names of this body, and of the objects in it, that mean nothing here."""
        names: list[str] = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Shape):
                names += [f"{name}.{one}" for one in value.ignored]
            elif name in self.model_fields_set and "unused" in field.metadata:
                names.append(name)
        return names


class Text(Shape):
    """A part of a message."""

    type: Literal["text", "input_text", "output_text", "refusal"]
    text: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class Called(Shape):
    """The function of a call."""

    name: str
    arguments: str = "{}"


class Call(Shape):
    """A call that an assistant has made."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: Called
    index: int | None = None


class Turn(Shape):
    """A message; an assistant's may carry its thought back."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Text] | None = None
    reasoning_content: str | None = None
    "The thought of an assistant's message."
    reasoning: str | None = None
    "The same by another name."
    thinking: str | None = None
    "The same by another name."
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    server_tool_calls: list[Any] | None = None
    "Not read: calls that the server itself made for an earlier reply."
    name: str | None = None
    "Not read, as the fields below."
    refusal: Unused = None
    annotations: Unused = None
    audio: Unused = None
    function_call: Unused = None
    reasoning_details: Unused = None


class Function(Shape):
    """What a tool is called and takes."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    "A JSON schema."
    strict: bool | None = None


class Tool(Shape):
    """A tool that the model may ask for."""

    type: Literal["function"]
    function: Function


class Named(Shape):
    """The name of a function."""

    name: str


class NamedTool(Shape):
    """The one tool that must be called."""

    type: Literal["function"]
    function: Named


class Schema(Shape):
    """A JSON schema, with its name."""

    name: str
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class Format(Shape):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


class StreamOptions(Shape):
    """How a stream ends."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    "Not read."


class TemplateSettings(Shape):
    """What other servers hand to a chat template."""

    enable_thinking: bool | None = None
    "False is `reasoning_effort` none."


class Sampled(Shape):
    """How tokens are drawn: what all endpoints share."""

    model: str | None = None
    "The model's name, as /v1/models gives it; may be left out."
    stream: bool | None = None
    "Whether the reply comes in pieces, as server-sent events."
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=64)] | None = None
    "How many replies."
    seed: Seed | None = None
    "The same seed gives the same reply; without one each is drawn anew."
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Count | None = None
    "Most tokens of thought and answer."
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    "Texts that end the answer, and are left out of it."


class ChatBody(Sampled):
    """/v1/chat/completions."""

    messages: Annotated[list[Turn], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    "The newer name of max_tokens."
    logprobs: bool | None = None
    "Whether each choice carries the log-probs of its tokens."
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    "How many of the likeliest tokens stand beside each."
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    "False: one call a reply at most."
    logit_bias: dict[TokenId, Bias] | None = None
    "What is added to the logits of token ids."
    response_format: Format | None = None
    reasoning_effort: Effort | None = None
    "How much to think; none and off answer at once."
    thinking_budget: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    "Most tokens of the thought; goes before reasoning_effort."
    max_accuracy_loss: Annotated[float, Field(ge=0, le=1)] | None = None
    "How much accuracy may be given away for a shorter thought; needs a calibrated model."
    history: History | None = None
    "Which earlier thoughts the model sees: drop (none), tools (of a running tool loop; the default) or keep (all)."
    verify: bool | None = None
    "Whether the reply is checked, where the question is one that can be."
    server_tools: Annotated[list[str], Field(max_length=16)] | None = None
    "Tools that the server itself runs: python, or a tool of its MCP servers."
    chat_template_kwargs: TemplateSettings | None = None
    frequency_penalty: Unused = None
    presence_penalty: Unused = None
    repetition_penalty: Unused = None
    user: Unused = None
    store: Unused = None
    metadata: Unused = None
    service_tier: Unused = None
    modalities: Unused = None
    audio: Unused = None
    prediction: Unused = None
    web_search_options: Unused = None
    verbosity: Unused = None
    moderation: Unused = None
    safety_identifier: Unused = None
    prompt_cache_key: Unused = None
    prompt_cache_retention: Unused = None
    prompt_cache_options: Unused = None
    functions: Unused = None
    function_call: Unused = None


class CompletionBody(Sampled):
    """/v1/completions: a text goes on, without template and without thought."""

    prompt: str | list[str] | list[int] | list[list[int]]
    "Text, or token ids; several prompts give several choices. Special tokens can be given as ids only."
    echo: bool | None = None
    "Whether the text begins with the prompt, and the log-probs with its tokens'."
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    "Log-probs of the tokens, with so many of the likeliest beside each."
    suffix: Unused = None
    best_of: Unused = None
    frequency_penalty: Unused = None
    presence_penalty: Unused = None
    repetition_penalty: Unused = None
    logit_bias: Unused = None
    user: Unused = None


class ControlBody(Shape):
    """/v1/chat/completions/control: what shall become of a reply under way."""

    id: str
    "Of the reply, as its chunks carry it."
    index: Annotated[int, Field(ge=0)] | None = None
    "Which choice; all of them by default."
    action: Literal["answer_now", "add", "think_on", "pause", "resume", "cancel"]
    text: str | None = None
    "What is added to the thought."
    tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    "How many tokens to think on."
