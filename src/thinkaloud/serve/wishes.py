"""What a body asks for, as wishes to a model. Knows both sides' names; doesn't know: who replies, HTTP."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from thinkaloud.rollouts.verified import kind_of
from thinkaloud.serve.exchange import Wish
from thinkaloud.serve.faults import Fault
from thinkaloud.serve.response_shapes import Asked, ResponseBody, Result, Said, Thought
from thinkaloud.serve.shapes import ChatBody, CompletionBody, Sampled, Text
from thinkaloud.serve.visit import Service
from thinkaloud.text import Message, ToolCall

EFFORTS = {"none": "off", "off": "off", "minimal": "low", "low": "low", "medium": "medium", "high": "high"}
EFFORTS |= {"xhigh": "high"}
"OpenAI's words for how much to think, as ours."


def chat_wishes(body: ChatBody, service: Service) -> list[Wish]:
    """The replies that a chat completion asks for. Fault 400 for what does not go together."""
    thinking = body.chat_template_kwargs and body.chat_template_kwargs.enable_thinking
    effort = "none" if thinking is False and body.reasoning_effort is None else body.reasoning_effort
    if body.top_logprobs and not body.logprobs:
        raise Fault("top_logprobs needs logprobs: true", param="top_logprobs")
    vocabulary = service.template.tokenizer.vocab_size
    if any(int(one) >= vocabulary for one in body.logit_bias or ()):
        raise Fault(f"logit_bias holds an id outside the vocabulary of {vocabulary}", param="logit_bias")
    tools = [tool.function.model_dump(exclude_none=True) for tool in body.tools or ()]
    choice = body.tool_choice
    wanted = choice if choice is None or isinstance(choice, str) else choice.function.name
    schema: Any = None
    if body.response_format is not None and body.response_format.type != "text":
        schema = {"type": "object"}
        if body.response_format.type == "json_schema":
            given = body.response_format.json_schema
            if given is None or given.schema_ is None:
                raise Fault("json_schema.schema is missing", param="response_format.json_schema.schema")
            schema = given.schema_
    settings = {
        **_sampling(body, service, body.max_completion_tokens or body.max_tokens),
        **_tools(tools, wanted, body.parallel_tool_calls, body.server_tools or ()),
        **_thinking(effort, body.thinking_budget, body.history),
        "schema": schema,
        "max_accuracy_loss": body.max_accuracy_loss,
        "bias": {int(one): value for one, value in (body.logit_bias or {}).items()} or None,
        "logprobs": body.logprobs or None,
        "top_logprobs": body.top_logprobs or None,
    }
    return _several([Message.from_dict(turn.model_dump()) for turn in body.messages], settings, body.n, service)


def response_wishes(body: ResponseBody, service: Service, earlier: Sequence[Message]) -> list[Wish]:
    """The reply that a response asks for, behind what was said earlier."""
    messages = [*([Message("system", body.instructions)] if body.instructions else []), *earlier]
    messages += _of_items([Said(role="user", content=body.input)] if isinstance(body.input, str) else body.input)
    tools = [tool.model_dump(exclude_none=True, exclude={"type"}) for tool in body.tools or ()]
    choice = body.tool_choice
    schema: Any = None
    form = body.text.format if body.text else None
    if form is not None and form.type != "text":
        schema = {"type": "object"} if form.type == "json_object" else form.schema_
        if schema is None:
            raise Fault("text.format.schema is missing", param="text.format.schema")
    settings = {
        **_sampling(body, service, body.max_output_tokens),
        **_tools(tools, choice if choice is None or isinstance(choice, str) else choice.name, body.parallel_tool_calls),
        **_thinking(body.reasoning.effort if body.reasoning else None, body.thinking_budget, body.history),
        "schema": schema,
        "max_accuracy_loss": body.max_accuracy_loss,
    }
    return _several(messages, settings, 1, service)


def completion_wishes(body: CompletionBody, service: Service) -> list[Wish]:
    """The continuations that a completion asks for."""
    settings = _sampling(body, service, body.max_tokens or 16)
    if body.logprobs is not None:
        settings |= {"logprobs": True, "top_logprobs": body.logprobs}
    prompts: list[str | tuple[int, ...]] = []
    given: Sequence[Any] = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if given and isinstance(given[0], int):
        given = [given]
    for one in given:
        prompts.append(one if isinstance(one, str) else tuple(one))
    if not prompts or not all(prompts):
        raise Fault("the prompt is empty: give text or token ids", param="prompt")
    wishes = []
    for prompt in prompts:
        each = [_told(settings | {"sample": index}) for index in range(body.n or 1)]
        scored = bool(body.echo) and body.logprobs is not None
        wishes += [Wish(prompt=prompt, settings=one, scored=scored) for one in each]
    return _bounded(wishes, service)


def _several(messages: Sequence[Message], settings: Mapping[str, Any], n: int | None, service: Service) -> list[Wish]:
    """The same wish so many times, by samples of one seed."""
    settings = {**settings, "kind": kind_of(messages)}
    wish = [Wish(messages=tuple(messages), settings=_told({**settings, "sample": index})) for index in range(n or 1)]
    return _bounded(wish, service)


def _bounded(wishes: list[Wish], service: Service) -> list[Wish]:
    most = service.limits.choices
    if len(wishes) > most:
        raise Fault(f"{len(wishes)} replies are more than this server's limit of {most}", param="n")
    return wishes


def _told(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say something."""
    return {name: value for name, value in settings.items() if value is not None}


def _sampling(body: Any, service: Service, max_tokens: int | None) -> dict[str, Any]:
    """How tokens are drawn; without a seed, by chance."""
    most = service.limits.max_tokens
    if max_tokens is not None and most is not None and max_tokens > most:
        raise Fault(f"max_tokens is {max_tokens}, and this server's limit is {most}", param="max_tokens")
    settings = {
        "max_tokens": max_tokens or (None if most is None else min(most, service.about["max_tokens"])),
        "temperature": body.temperature,
        "top_p": body.top_p,
        "seed": secrets.randbits(62) if body.seed is None else body.seed,
    }
    if isinstance(body, Sampled):
        stop = [body.stop] if isinstance(body.stop, str) else body.stop
        settings |= {"top_k": body.top_k, "min_p": body.min_p, "stop": tuple(one for one in stop or () if one) or None}
    return settings


def _thinking(effort: str | None, budget: int | None, history: str | None) -> dict[str, Any]:
    return {"effort": EFFORTS[effort] if effort else None, "thinking_budget": budget, "history": history}


def _tools(
    tools: Sequence[dict[str, Any]], choice: str | None, parallel: bool | None, others: Sequence[str] = ()
) -> dict[str, Any]:
    """The tools, and which must be called: 'none', 'auto', 'required' or a name. `others` are the server's own."""
    names = [*(tool["name"] for tool in tools), *others]
    if len(set(names)) < len(names):
        raise Fault("two tools have one name", param="tools")
    if choice == "required" and not names:
        raise Fault("tool_choice is required, and there are no tools", param="tool_choice")
    if choice not in (None, "none", "auto", "required", *names):
        raise Fault(f"tool_choice names {choice!r}, which is none of the tools", param="tool_choice")
    given = [{"type": "function", "function": tool} for tool in tools]
    return {"tools": given, "tool_choice": choice, "parallel": parallel} if names else {}


def _of_items(items: Sequence[Said | Thought | Asked | Result]) -> list[Message]:
    """Items as messages: a thought and calls belong to one message with the text between them."""
    messages: list[Message] = []
    thought: str | None = None
    for item in items:
        if isinstance(item, Said):
            role = "system" if item.role == "developer" else item.role
            messages.append(Message(role, _text(item.content), thought if role == "assistant" else None))
            thought = None
        elif isinstance(item, Thought):
            thought = "".join(
                str(part.get("text", "")) for part in item.content or item.summary if isinstance(part, dict)
            )
        elif isinstance(item, Asked):
            call = ToolCall.from_dict({"function": {"name": item.name, "arguments": item.arguments}})
            last = messages[-1] if messages and thought is None else None
            if last is not None and last.role == "assistant":
                messages[-1] = Message("assistant", last.content, last.thinking, (*last.tool_calls, call))
            else:
                messages.append(Message("assistant", "", thought, (call,)))
            thought = None
        else:
            messages.append(Message("tool", _text(item.output)))
    return messages


def _text(content: str | Sequence[Text]) -> str:
    return content if isinstance(content, str) else "".join(part.text or part.refusal or "" for part in content)
