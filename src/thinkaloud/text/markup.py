"""The words of our markup: the special tokens of our own models, and their chat template.

Knows: how a chat is spelled. Does not know: ids. Tests hold that no other room spells a special token.
"""

PAD = "<|endoftext|>"
TURN_OPEN = "<|im_start|>"
TURN_CLOSE = "<|im_end|>"
THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
TOOL_CALL_OPEN = "<tool_call>"
TOOL_CALL_CLOSE = "</tool_call>"
TOOL_RESPONSE_OPEN = "<tool_response>"
TOOL_RESPONSE_CLOSE = "</tool_response>"

SPECIAL_TOKENS = (
    PAD,
    TURN_OPEN,
    TURN_CLOSE,
    THINK_OPEN,
    THINK_CLOSE,
    TOOL_CALL_OPEN,
    TOOL_CALL_CLOSE,
    TOOL_RESPONSE_OPEN,
    TOOL_RESPONSE_CLOSE,
)

ROLE_WORDS = ("system", "user", "assistant")
"What the template writes between its tokens: whole tokens in our own models."

END_TOKENS = (TURN_CLOSE, PAD, "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<｜end▁of▁sentence｜>")
"Tokens that end a turn in the models we load, whatever their configuration says."

AFTER_OPEN = "\n"
"What follows the tag that opens a thought."
BEFORE_CLOSE = "\n"
"What stands between a thought and the tag that closes it."
AFTER_CLOSE = "\n\n"
"What stands between that tag and the answer."

BEFORE_TOOL_CALL = "\n"
"What stands between the answer, or a tool call, and the tool call that follows."

# A thought of None is spelled as a thinking-off prompt spells it, and a thought without words as an empty line, so that
# every assistant turn reads back as it was and the prompt of the next turn can extend this one's.
DEFAULT_TEMPLATE = r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- '# Tools\n\nYou may call one or more functions to assist with the user query.\n\n' }}
    {{- 'You are provided with function signatures within <tools></tools> XML tags:\n<tools>' }}
    {%- for tool in tools %}
        {{- '\n' + tool | tojson }}
    {%- endfor %}
    {{- '\n</tools>\n\nFor each function call, return a json object with function name and arguments ' }}
    {{- 'within <tool_call></tool_call> XML tags:\n<tool_call>\n' }}
    {{- '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last_query=-1) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- set ns.last_query = loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'system' and loop.first and tools %}
    {%- elif message.role == 'user' or message.role == 'system' %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant\n' }}
        {%- if preserve_thinking or loop.index0 > ns.last_query %}
            {{- '<think>\n' }}
            {%- if message.reasoning_content is not string %}
                {{- '\n' }}
            {%- elif message.reasoning_content %}
                {{- message.reasoning_content + '\n' }}
            {%- endif %}
            {{- '</think>\n\n' }}
        {%- endif %}
        {{- content }}
        {%- for call in message.tool_calls or [] %}
            {%- set function = call.function or call %}
            {%- if content or not loop.first %}
                {{- '\n' }}
            {%- endif %}
            {{- '<tool_call>\n{"name": ' + function.name | tojson + ', "arguments": ' }}
            {%- if function.arguments is string %}
                {{- function.arguments }}
            {%- else %}
                {{- function.arguments | tojson }}
            {%- endif %}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or loop.previtem.role != 'tool' %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' + content + '\n</tool_response>' }}
        {%- if loop.last or loop.nextitem.role != 'tool' %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n<think>\n' }}
    {%- if enable_thinking is defined and not enable_thinking %}
        {{- '\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
""".strip()
